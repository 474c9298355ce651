package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"pier/kernel/fsinfo"
	"pier/kernel/mount"
	"pier/lib/errkind"
)

// MountShm mounts shared memory of size bytes at path, a folder it makes; nothing where it is mounted already.
func MountShm(path string, size int64) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return errkind.New(errkind.Internal, "shared memory: %w", err)
	}
	if on, err := mounted(path); on || err != nil {
		return err
	}
	f, err := mount.Filesystem("tmpfs", map[string]string{"source": "shm", "size": strconv.FormatInt(size, 10), "mode": "1777"},
		mount.Nosuid|mount.Nodev|mount.Noexec)
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	defer f.Close()
	if err := mount.Attach(f, path); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	return nil
}

// UnmountShm undoes MountShm; processes that still use the memory keep it. Nothing is mounted there: no error.
func UnmountShm(path string) error {
	if on, err := mounted(path); !on || err != nil {
		return err
	}
	return mount.Unmount(path, true)
}

// mounted reports whether path is on another file system than the folder it is in.
func mounted(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	parent, err := os.Lstat(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	d, _ := fsinfo.Details(info)
	p, _ := fsinfo.Details(parent)
	return d.Dev != p.Dev, nil
}
