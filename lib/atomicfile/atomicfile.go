// Package atomicfile is the one way in which Pier replaces a file: a temporary file beside it, write, sync, rename,
// sync of the folder. After a crash or a power cut at any instruction the name holds the old content or the new, whole.
//
// Start reading at Write.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Write replaces the file at path by data with permission bits perm (not cut by the umask). When it returns nil the
// content survives a power cut. On an error the old content, if any, is untouched and no temporary file stays.
// Writers of the same path may race: the last rename wins, and readers never see a mixture.
func Write(path string, data []byte, perm os.FileMode) error {
	return write(path, bytes.NewReader(data), perm, true)
}

// WriteVolatile is Write without the two syncs: safe against a crash of the process, not against a power cut. It is
// for files in a folder that a reboot empties.
func WriteVolatile(path string, data []byte, perm os.FileMode) error {
	return write(path, bytes.NewReader(data), perm, false)
}

// CopyVolatile is WriteVolatile of all that r yields. Where reading fails nothing is replaced.
func CopyVolatile(path string, r io.Reader, perm os.FileMode) error {
	return write(path, r, perm, false)
}

// temporary is what the names of files have in them that are not whole yet.
const temporary = ".tmp-"

func write(path string, r io.Reader, perm os.FileMode, durable bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+temporary+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, unnamed(err))
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, unnamed(err))
		}
	}()
	if _, err = io.Copy(f, r); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if durable {
		return SyncDir(dir)
	}
	return nil
}

// unnamed is err without the name of the temporary file, which says nothing to whoever reads it.
func unnamed(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &link):
		return link.Err
	case errors.As(err, &path) && strings.Contains(filepath.Base(path.Path), temporary):
		return path.Err
	}
	return err
}

// SyncDir makes the names in dir durable: creations, renames and removals that happened before the call.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
