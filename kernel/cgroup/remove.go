package cgroup

import (
	"os"

	"golang.org/x/sys/unix"
)

// removeTree removes the cgroup at dir and those below it. A container that has a hierarchy of its own may have made that
// deeper than any path can name: the way down and up again goes from folder to folder.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err == unix.EBUSY {
		if err = removeBelow(dir); err == nil {
			if err = unix.Rmdir(dir); err == nil || err == unix.ENOENT {
				return nil
			}
		}
	}
	return &os.PathError{Op: "rmdir", Path: dir, Err: err}
}

// removeBelow leaves nothing in dir.
func removeBelow(dir string) error {
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	move := func(to string) error {
		next, err := unix.Openat(at, to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(at)
			at = next
		}
		return err
	}
	for path := []string{}; ; {
		child, err := firstFolder(at)
		if err != nil {
			return err
		}
		if child != "" {
			if err := move(child); err != nil {
				return err
			}
			path = append(path, child)
			continue
		}
		if len(path) == 0 {
			return nil
		}
		if err := move(".."); err != nil {
			return err
		}
		last := path[len(path)-1]
		if err := unix.Unlinkat(at, last, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
			return err
		}
		path = path[:len(path)-1]
	}
}

// firstFolder returns the name of a folder in the open one, "" if there is none.
func firstFolder(at int) (string, error) {
	n, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	dir := os.NewFile(uintptr(n), "cgroup")
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(64)
		for _, e := range entries {
			if e.IsDir() {
				return e.Name(), nil
			}
		}
		if err != nil || len(entries) == 0 {
			return "", nil // io.EOF: all were seen
		}
	}
}
