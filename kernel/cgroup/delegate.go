package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// payload is the cgroup below a container's own that it may do with as it likes.
const payload = "payload"

// What a container may make of its own cgroup (v2), so that it can neither take the kernel's memory nor make a tree that
// nobody can name.
const (
	maxDepth       = "32"
	maxDescendants = "4096"
)

// JoinDelegated is Join for a process that makes control groups itself, an init such as systemd. On v2 it comes up in a
// cgroup of its own below c, which is made here: that one is the container's to change, while the limits stay in c, out
// of its reach. On v1 it is Join; see Bare.
func (c *Cgroup) JoinDelegated() (Join, error) {
	if !c.unified {
		return c.Join()
	}
	dir := filepath.Join(c.dirs[0], payload)
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return Join{}, fmt.Errorf("create cgroup: %w", &os.PathError{Op: "mkdir", Path: dir, Err: err})
	}
	if err := delegate(c.dirs[0]); err != nil {
		return Join{}, err
	}
	for file, value := range map[string]string{"cgroup.max.depth": maxDepth, "cgroup.max.descendants": maxDescendants} {
		if err := writeFile(filepath.Join(c.dirs[0], file), value); err != nil {
			return Join{}, err
		}
	}
	return joinDir(dir)
}

// JoinBeside opens what a process needs to join the cgroup in which the process pid is, which must be c or one below it.
// Where an init has handed out its controllers, v2 lets no process into its own cgroup any more (EBUSY).
func (c *Cgroup) JoinBeside(pid int) (Join, error) {
	if !c.unified {
		return c.Join()
	}
	h, err := mounted()
	if err != nil {
		return Join{}, err
	}
	text, err := readFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return Join{}, err
	}
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		if name != path.Clean(name) || name != c.path && !strings.HasPrefix(name, c.path+"/") {
			break
		}
		return joinDir(filepath.Join(h.unified, name))
	}
	return Join{}, errkind.New(errkind.Conflict, "join the cgroup of process %d: it is not below %s", pid, c.path)
}

// Bare reports whether the v1 hierarchy of which dir is a cgroup is systemd's own, without a controller: then a cgroup
// limits nothing, and may be left to those inside. One whose release agent is not systemd's does not count.
func Bare(dir string) (bool, error) {
	h, err := mounted()
	if err != nil {
		return false, err
	}
	for _, mount := range h.v1 {
		if dir == mount.dir || strings.HasPrefix(dir, mount.dir+"/") {
			return mount.bare(), nil
		}
	}
	return false, errkind.New(errkind.NotFound, "%s lies in no cgroup hierarchy of v1", dir)
}

func joinDir(dir string) (Join, error) {
	n, err := openFile(dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		return Join{}, errkind.New(errkind.NotFound, "No such cgroup: %s", dir)
	}
	if err != nil {
		return Join{}, err
	}
	return Join{Dir: os.NewFile(uintptr(n), dir)}, nil
}
