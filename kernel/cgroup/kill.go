package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Procs returns the process numbers in c and below it, in no order. They are good for showing; to signal all use Kill.
func (c *Cgroup) Procs() ([]int, error) { return procs(c.killDir()) }

// killDir is the directory whose members Procs and Kill mean. On v1 the hierarchies have the same members; the
// freezer's is the one that can hold them still.
func (c *Cgroup) killDir() string {
	if dir := c.byName["freezer"]; dir != "" {
		return dir
	}
	return c.dirs[0]
}

// FreezerDir is the folder of c that holds its processes still, for a program that does that itself.
func FreezerDir(c *Cgroup) string { return c.killDir() }

// Shown is the folder of c that a container sees at a name below its mount of control groups: on v2 c itself, at "", on v1
// the one of a hierarchy, by its mount's name. ok is false where there is none.
func Shown(c *Cgroup, name string) (dir string, ok bool) {
	for _, dir := range c.dirs {
		if c.unified && name == "" || !c.unified && name != "" && filepath.Base(strings.TrimSuffix(dir, c.path)) == name {
			return dir, true
		}
	}
	return "", false
}

func procs(dir string) ([]int, error) {
	b, err := readFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, unix.ENOTSUP) { // a threaded v2 cgroup tells only its domain
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(b)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil && pid > 0 { // 0: a process outside our pid namespace
			pids = append(pids, pid)
		}
	}
	children, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		more, err := procs(child)
		if err != nil {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

// freezeRounds is how often Freeze begins anew. On v1 the freezer of a cgroup that forks without end on a busy machine
// can miss its goal; each round tries for some 10 ms.
const freezeRounds = 20

// Freeze stops every process of c until Thaw; it returns when all stand still. When it fails, none is left frozen.
func (c *Cgroup) Freeze() error {
	var err error
	for range freezeRounds {
		if err = c.manager.Freeze(cgroups.Frozen); err == nil || c.unified {
			return err
		}
	}
	return errkind.New(errkind.Unavailable, "freeze cgroup %s: %w; its processes fork too fast, try again", c.path, err)
}

// Thaw lets the processes of c go on.
func (c *Cgroup) Thaw() error { return c.manager.Freeze(cgroups.Thawed) }

// Release lets everything in c and below it go on, whoever holds it still: so that it can die. On v2 it does nothing, for
// there SIGKILL reaches what is frozen. A missing cgroup is no error.
func Release(c *Cgroup) error {
	if c.unified || c.byName["freezer"] == "" {
		return nil
	}
	return c.thawAll(c.killDir())
}

// Frozen reports whether c's processes are held by Freeze, or are about to be.
func (c *Cgroup) Frozen() bool {
	file, on := filepath.Join(c.dirs[0], "cgroup.freeze"), "1"
	if !c.unified {
		file, on = filepath.Join(c.byName["freezer"], "freezer.self_freezing"), "1"
	}
	text, err := readFile(file)
	return err == nil && strings.TrimSpace(string(text)) == on
}

// maxRounds bounds how often Kill looks for processes that were born while it signalled.
const maxRounds = 1000

// Kill sends SIGKILL to every process in c and below it, also to those that are being born and to frozen ones, and
// returns when all are signalled; they exit soon after. A frozen cgroup is thawed. A missing or empty cgroup is no error.
func (c *Cgroup) Kill() error {
	if c.unified {
		err := writeFile(filepath.Join(c.dirs[0], "cgroup.kill"), "1")
		if errors.Is(err, os.ErrNotExist) {
			if _, statErr := os.Stat(c.dirs[0]); statErr != nil {
				return nil
			}
			return c.killHeld() // Linux < 5.14
		}
		return err
	}
	return c.killHeld()
}

// killHeld freezes, signals and thaws, so that no process can fork away from its signal. A caller that dies in between
// leaves dead men standing: the next call, or Release, lets them fall.
func (c *Cgroup) killHeld() error {
	dir := c.killDir()
	pids, err := procs(dir)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return c.thawAll(dir) // for whoever is about to come in
	}
	if c.unified {
		err = writeFile(filepath.Join(dir, "cgroup.freeze"), "1")
	} else if c.byName["freezer"] != "" {
		// From this write on every new member is born frozen; the old ones may run on for a moment, hence the rounds.
		err = writeFile(filepath.Join(dir, "freezer.state"), string(cgroups.Frozen))
	}
	if err == nil {
		err = signalAll(dir, unix.SIGKILL)
	}
	return errors.Join(err, c.thawAll(dir))
}

// thawAll thaws dir and all below it. What has gone meanwhile needs it no more.
func (c *Cgroup) thawAll(dir string) error {
	children, err := subdirs(dir)
	for _, child := range children {
		err = errors.Join(err, c.thawAll(child))
	}
	file, thawed := "cgroup.freeze", "0"
	if !c.unified {
		file, thawed = "freezer.state", string(cgroups.Thawed)
	}
	if !c.unified && c.byName["freezer"] == "" {
		return err
	}
	if writeErr := writeFile(filepath.Join(dir, file), thawed); !errors.Is(writeErr, os.ErrNotExist) && !errors.Is(writeErr, unix.ENODEV) {
		err = errors.Join(err, writeErr)
	}
	return err
}

// Signal sends signal number sig to every process in c and below it, and to nobody else. One that is born meanwhile has it
// too, unless such are born without end (Unavailable). A missing or empty cgroup is no error. For SIGKILL use Kill.
func Signal(c *Cgroup, sig int) error { return signalAll(c.killDir(), unix.Signal(sig)) }

// signalAll signals the members of dir until it finds none that it has not signalled. A number may be reused at any
// time: a process is opened, then seen to be a member, then signalled by descriptor.
func signalAll(dir string, sig unix.Signal) error {
	done := make(map[int]bool)
	for range maxRounds {
		pids, err := procs(dir)
		if err != nil {
			return err
		}
		opened := make(map[int]int)
		for _, pid := range pids {
			if done[pid] {
				continue
			}
			if n, err := unix.PidfdOpen(pid, 0); err == nil {
				opened[pid] = n
			} else if err != unix.ESRCH && err != unix.EINVAL {
				closeAll(opened)
				return os.NewSyscallError("pidfd_open", err)
			}
		}
		if len(opened) == 0 {
			return nil
		}
		if pids, err = procs(dir); err == nil {
			for _, pid := range pids {
				if n, ok := opened[pid]; ok {
					done[pid] = true
					_ = unix.PidfdSendSignal(n, sig, nil, 0) // ESRCH: it has just exited
				}
			}
		}
		closeAll(opened)
		if err != nil {
			return err
		}
	}
	return errkind.New(errkind.Unavailable, "signal cgroup %s: new processes appear faster than they can be signalled", dir)
}

func closeAll(fds map[int]int) {
	for _, n := range fds {
		unix.Close(n)
	}
}
