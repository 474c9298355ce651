package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"pier/kernel/mount"
	"pier/lib/errkind"
)

// MountShm mounts shared memory of size bytes at path, a folder it makes; nothing where it is mounted already.
func MountShm(path string, size int64) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return errkind.New(errkind.Internal, "shared memory: %w", err)
	}
	if on, err := mount.Mounted(path); on || err != nil {
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

// Attach puts a detached tree of its own file system at path, a folder; nothing where one is mounted already.
func Attach(tree *os.File, path string) error {
	if on, err := mount.Mounted(path); on || err != nil {
		return err
	}
	return mount.Attach(tree, path)
}

// Unmount undoes MountShm and Attach; processes that still use the files keep them. Nothing is mounted there: no error.
func Unmount(path string) error {
	if on, err := mount.Mounted(path); !on || err != nil {
		return err
	}
	return mount.Unmount(path, true)
}
