// Package fsinfo asks file systems what they are and how much a tree takes up, and files about what os.FileInfo does
// not say.
//
// Start reading at Usage.
package fsinfo

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Type names the file system that holds path, as docker info does ("extfs", "xfs", "overlayfs", ...); an unusual one is
// its magic number in hexadecimal.
func Type(path string) (string, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	for err == unix.EINTR {
		err = unix.Statfs(path, &st)
	}
	if err != nil {
		return "", &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return "extfs", nil
	case unix.XFS_SUPER_MAGIC:
		return "xfs", nil
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs", nil
	case unix.TMPFS_MAGIC:
		return "tmpfs", nil
	case unix.NFS_SUPER_MAGIC:
		return "nfs", nil
	}
	return fmt.Sprintf("%#x", uint32(st.Type)), nil
}

// inode names a file on the machine.
type inode struct{ dev, ino uint64 }

// Usage returns how many bytes the tree at path takes up on its file system: allocated blocks, each file counted once
// however many names it has there, holes not at all. Mounts below it and what symbolic links lead to do not count, and
// what vanishes meanwhile is left out. Path itself is trusted, what lies below it is not. It holds one descriptor for
// each level of the tree.
func Usage(path string) (int64, error) {
	var st unix.Stat_t
	n, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(n)
	if err := unix.Fstat(n, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	total := st.Blocks * blockSize
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		below, err := usage(n, ".", uint64(st.Dev), make(map[inode]bool))
		if err != nil {
			return 0, &os.PathError{Op: "measure", Path: path, Err: err}
		}
		total += below
	}
	return total, nil
}

const blockSize = 512 // of st_blocks, whatever the file system

func usage(parent int, name string, dev uint64, seen map[inode]bool) (int64, error) {
	n, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, ignoreVanished(err)
	}
	dir := os.NewFile(uintptr(n), "measured")
	defer dir.Close()
	var total int64
	for {
		names, err := dir.Readdirnames(512)
		for _, entry := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(n, entry, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				if ignoreVanished(err) != nil {
					return 0, err
				}
				continue
			}
			isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
			key := inode{uint64(st.Dev), st.Ino}
			if key.dev != dev || seen[key] {
				continue
			}
			if st.Nlink > 1 && !isDir {
				seen[key] = true
			}
			total += st.Blocks * blockSize
			if !isDir {
				continue
			}
			below, err := usage(n, entry, dev, seen)
			if err != nil {
				return 0, err
			}
			total += below
		}
		if len(names) == 0 || err != nil {
			return total, nil
		}
	}
}

func ignoreVanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// Sync writes everything that the file system of path has in memory to disk and waits for it (syncfs(2)).
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}

// Detail is what the kernel says of a file beyond os.FileInfo's own methods.
type Detail struct {
	Dev, Ino, Nlink uint64
	Rdev            uint64 // the device that a device file stands for
	UID, GID        int
	Allocated       int64 // bytes on disk
	Atime, Ctime    int64 // nanoseconds since 1970
}

// Details returns the Detail of a FileInfo that came from the os package or kernel/fsroot; another one gives false.
func Details(fi os.FileInfo) (Detail, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Detail{}, false
	}
	return Detail{
		Dev: uint64(st.Dev), Ino: st.Ino, Nlink: uint64(st.Nlink), Rdev: uint64(st.Rdev),
		UID: int(st.Uid), GID: int(st.Gid), Allocated: st.Blocks * blockSize,
		Atime: st.Atim.Nano(), Ctime: st.Ctim.Nano(),
	}, true
}

// Major and Minor take a device number (Detail.Rdev) apart.
func Major(dev uint64) uint32 { return unix.Major(dev) }

// Minor is the other half of Major.
func Minor(dev uint64) uint32 { return unix.Minor(dev) }
