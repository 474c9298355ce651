// Package cgroup makes, joins, limits, measures, freezes, kills and removes control groups, on v1 and on v2.
//
// A cgroup has one path on every hierarchy, below the place where that is mounted:
//
//	v1 (and hybrid)  /sys/fs/cgroup/{cpu,memory,pids,...}<path>     one directory per controller
//	v2               /sys/fs/cgroup<path>                           one directory
//
// Creating and joining is done here, because the usual ways are slow: a write to v1's cgroup.procs waits for all CPUs
// (7 ms), a write of "0" to tasks by the process itself does not (0.02 ms), and v2 is joined by clone3 at no cost.
// Limits, statistics and the freezer are the library's. A cgroup denies every device except the harmless ones until its
// resources say otherwise.
//
// Start reading at Create.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // gives the library its device rules
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Cgroup is one control group on all mounted hierarchies. It holds no open files. Its methods may be called from
// several goroutines, but not while Delete runs.
type Cgroup struct {
	path    string
	dirs    []string          // one per hierarchy; v2: exactly one
	byName  map[string]string // v1: controller -> directory
	unified bool
	manager cgroups.Manager
}

// Create makes the cgroup path ("/pier/<id>") with its missing parents and gives it the limits r, so that they hold
// before anyone joins; nil means no limits. An existing cgroup with processes in it is errkind.Conflict, an empty one is
// taken over. A limit that the kernel refuses, or that its hierarchy cannot express, is errkind.Invalid. After an error
// nothing is left but parents.
func Create(path string, r *specs.LinuxResources) (*Cgroup, error) {
	c, err := locate(path)
	if err != nil {
		return nil, err
	}
	return c.create(r)
}

func (c *Cgroup) create(r *specs.LinuxResources) (*Cgroup, error) {
	var err error
	old := false // one of the directories was there before: somebody may be in it
	for _, dir := range c.dirs {
		var was bool
		if was, err = c.makeDir(dir); err != nil {
			break
		}
		old = old || was
	}
	if err == nil && old {
		var procs []int
		if procs, err = c.Procs(); err == nil && len(procs) > 0 {
			return nil, errkind.New(errkind.Conflict, "create cgroup %s: it exists and holds %d processes", c.path, len(procs))
		}
	}
	if err == nil {
		if r == nil {
			r = &specs.LinuxResources{}
		}
		rules := deviceRules(r.Devices)
		if !old && c.allow(rules) {
			rules = nil
		}
		if err = c.set(r, rules); c.unified && errors.Is(err, os.ErrNotExist) {
			if err = c.delegateAll(); err == nil {
				err = c.set(r, rules)
			}
		}
	}
	if err != nil {
		if deleteErr := c.Delete(); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
		return nil, err
	}
	return c, nil
}

// Open finds the existing cgroup path. If it is missing from any hierarchy that Pier uses, that is errkind.NotFound.
func Open(path string) (*Cgroup, error) {
	c, err := locate(path)
	if err != nil {
		return nil, err
	}
	for _, dir := range c.dirs {
		if _, err := os.Stat(dir); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil, errkind.New(errkind.NotFound, "No such cgroup: %s (%s is missing)", path, dir)
			}
			return nil, err
		}
	}
	return c, nil
}

// At names a cgroup without looking whether it is there: for Kill, Delete and what else may find nothing, or only some
// of its directories.
func At(path string) (*Cgroup, error) { return locate(path) }

// locate makes the object without looking whether the directories exist.
func locate(name string) (*Cgroup, error) {
	if name == "/" || !strings.HasPrefix(name, "/") || path.Clean(name) != name || strings.ContainsAny(name, "\x00\n") {
		return nil, errkind.New(errkind.Invalid, "cgroup path %q: it must be absolute, without . and .. and not the root", name)
	}
	h, err := mounted()
	if err != nil {
		return nil, err
	}
	return locateIn(h, name)
}

func locateIn(h hierarchies, name string) (c *Cgroup, err error) {
	c = &Cgroup{path: name, unified: h.unified != ""}
	config := &cgroups.Cgroup{Path: name, Resources: &cgroups.Resources{}}
	if c.unified {
		dir := filepath.Join(h.unified, name)
		c.dirs = []string{dir}
		c.manager, err = fs2.NewManager(config, dir)
		return c, err
	}
	c.byName = make(map[string]string, len(h.v1))
	for _, mount := range h.v1 {
		dir := filepath.Join(mount.dir, name)
		c.dirs = append(c.dirs, dir)
		for _, controller := range mount.controllers {
			c.byName[controller] = dir
		}
	}
	c.manager, err = fs.NewManager(config, c.byName)
	return c, err
}

// Path returns the path given to Create or Open.
func (c *Cgroup) Path() string { return c.path }

// makeDir makes dir and its missing parents, each ready to hold the next. It reports whether dir was there before.
func (c *Cgroup) makeDir(dir string) (was bool, err error) {
	err = unix.Mkdir(dir, 0o755)
	switch err {
	case unix.ENOENT:
		parent := filepath.Dir(dir)
		if _, err := c.makeDir(parent); err != nil {
			return false, err
		}
		if strings.HasPrefix(c.byName["cpuset"], parent+"/") { // then the kernel does for its children what inheritCpuset would
			if err := writeFile(filepath.Join(parent, "cgroup.clone_children"), "1"); err != nil {
				return false, err
			}
		}
		err = unix.Mkdir(dir, 0o755)
	case unix.EEXIST:
		return true, nil
	}
	if err == unix.EEXIST { // made by another meanwhile
		was, err = true, nil
	}
	if err != nil {
		return was, fmt.Errorf("create cgroup: %w", &os.PathError{Op: "mkdir", Path: dir, Err: err})
	}
	if c.unified {
		return was, delegate(filepath.Dir(dir))
	}
	if cpuset := c.byName["cpuset"]; cpuset == dir || strings.HasPrefix(cpuset, dir+"/") {
		return was, inheritCpuset(dir)
	}
	return was, nil
}

// inheritCpuset copies the parent's CPUs and memory nodes where the kernel has not: a v1 cpuset begins empty and then takes no process.
func inheritCpuset(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := readFile(filepath.Join(dir, file))
		if errors.Is(err, os.ErrNotExist) {
			return nil // another controller
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(value)) != "" {
			continue
		}
		if value, err = readFile(filepath.Join(filepath.Dir(dir), file)); err != nil {
			return err
		}
		if strings.TrimSpace(string(value)) == "" { // another has just made the parent, and is not that far yet
			if err := inheritCpuset(filepath.Dir(dir)); err != nil {
				return err
			}
			if value, err = readFile(filepath.Join(filepath.Dir(dir), file)); err != nil {
				return err
			}
		}
		if err := writeFile(filepath.Join(dir, file), string(value)); err != nil {
			return err
		}
	}
	return nil
}

// delegateAll does delegate for all that lie above c, from the root on (v2). What misses a file needs it: another process
// or goroutine has made a parent, and was not that far yet when c was made in it.
func (c *Cgroup) delegateAll() error {
	for i, letter := range c.path {
		if letter != '/' {
			continue
		}
		if err := delegate(filepath.Join(strings.TrimSuffix(c.dirs[0], c.path), c.path[:i])); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the children of dir use every controller that dir has (v2).
func delegate(dir string) error {
	have, err := readFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	on, err := readFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	enabled := make(map[string]bool)
	for _, controller := range strings.Fields(string(on)) {
		enabled[controller] = true
	}
	for _, controller := range strings.Fields(string(have)) {
		if enabled[controller] {
			continue
		}
		// One by one: a controller that cannot be delegated (cpu with realtime tasks about) must not keep back the rest.
		// A limit that then cannot be set is reported when it is set.
		err := writeFile(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return nil
}

// The files of a cgroup are opened without package os: it would put them into the netpoller, where each reports an event
// at once and so wakes a sleeping thread for nothing.

// openFile opens a cgroup file, which must exist.
func openFile(name string, flags int) (int, error) {
	for {
		n, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// writeFile writes value in one call to a cgroup file, which must exist.
func writeFile(name, value string) error {
	n, err := openFile(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(n)
	for {
		_, err = unix.Write(n, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "write", Path: name, Err: err}
		}
	}
}

// readFile reads a whole cgroup file.
func readFile(name string) ([]byte, error) {
	n, err := openFile(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(n)
	text := make([]byte, 0, 512)
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		k, err := unix.Read(n, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return text, &os.PathError{Op: "read", Path: name, Err: err}
		case k == 0:
			return text, nil
		default:
			text = text[:len(text)+k]
		}
	}
}

// Join is what a new process needs to come up inside a cgroup. A machine has either Tasks or Dir.
type Join struct {
	Tasks []string // v1: files that the process opens, and writes "0" to, before it has a second thread
	Dir   *os.File // v2: for clone3 with CLONE_INTO_CGROUP
}

// Close closes Dir.
func (j Join) Close() error {
	if j.Dir == nil {
		return nil
	}
	return j.Dir.Close()
}

// Join is what a process needs to join c; the caller closes it.
func (c *Cgroup) Join() (Join, error) {
	var j Join
	if c.unified {
		n, err := openFile(c.dirs[0], unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return j, err
		}
		j.Dir = os.NewFile(uintptr(n), c.dirs[0])
		return j, nil
	}
	for _, dir := range c.dirs {
		j.Tasks = append(j.Tasks, filepath.Join(dir, "tasks"))
	}
	return j, nil
}

// Set changes the limits that r names and leaves the others; device rules change only where r has some. Errors are as
// for Create.
func (c *Cgroup) Set(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	if r.Devices == nil {
		return c.set(r, nil)
	}
	return c.set(r, deviceRules(r.Devices))
}

// Stats measures c with everything below it.
func (c *Cgroup) Stats() (*cgroups.Stats, error) { return c.manager.GetStats() }

// OOMKills returns how many processes of c the kernel has killed for want of memory since Create.
func (c *Cgroup) OOMKills() (uint64, error) {
	dir, file := c.byName["memory"], "memory.oom_control"
	if c.unified {
		dir, file = c.dirs[0], "memory.events"
	}
	if dir == "" {
		return 0, errkind.New(errkind.Unsupported, "count memory kills of cgroup %s: no memory controller is mounted", c.path)
	}
	b, err := readFile(filepath.Join(dir, file))
	if errors.Is(err, os.ErrNotExist) && c.unified {
		return 0, nil // the controller is not delegated: no limit, no kill
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, errkind.New(errkind.Unsupported, "count memory kills of cgroup %s: %s does not tell; needs Linux >= 4.13", c.path, file)
}

// How long Delete waits for the kernel to let go of processes that have just exited.
const (
	deleteFirst = 500 * time.Microsecond
	deleteLimit = 5 * time.Second // on a busy machine one that was killed may wait for a processor to end on
	deletePause = 100 * time.Millisecond
)

// Delete removes c and the cgroups below it. It kills nothing: while a process lives in it, Delete gives up after five
// seconds with errkind.Conflict. A missing cgroup is no error. Parents stay.
func (c *Cgroup) Delete() error {
	deadline := time.Now().Add(deleteLimit)
	for _, dir := range c.dirs {
		for wait := deleteFirst; ; wait = min(2*wait, deletePause) {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			if time.Now().Add(wait).After(deadline) {
				return errkind.New(errkind.Conflict, "remove cgroup %s: processes still live in it; kill them first: %w", c.path, err)
			}
			time.Sleep(wait)
		}
	}
	return nil
}

// Remove is Delete for a path of which perhaps only some hierarchies have a directory. It removes that which another
// runtime has made beside them too, in the v2 mount of a machine with v1.
func Remove(path string) error {
	c, err := locate(path)
	if err != nil {
		return err
	}
	if h, err := mounted(); err == nil && h.beside != "" {
		c.dirs = append(c.dirs, filepath.Join(h.beside, path))
	}
	return c.Delete()
}

func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var dirs []string
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(dir, entry.Name()))
		}
	}
	return dirs, err
}
