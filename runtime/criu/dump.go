package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/kernel/self"
	"pier/lib/errkind"
)

// Allow says what may be in a checkpoint besides what always can: criu refuses it otherwise.
type Allow struct {
	TCPEstablished bool // connections that are established
	TCPSkip        bool // but not those that are not, yet: they are left out
	TCPClose       bool // restore: the established ones come back closed
	ExtUnix        bool // unix sockets that are connected to others outside
	FileLocks      bool
	ShellJob       bool // a terminal that is not the container's own
	LinkRemap      bool // files that have no name any more, given one meanwhile
}

// PageServer is where the content of memory goes instead of the folder: "criu page-server" listens there.
type PageServer struct {
	Address string
	Port    int
}

// Dump says of what to make a checkpoint, and how. All files are borrowed.
type Dump struct {
	// Program is criu's path or name; "" for the one on PATH.
	Program string
	// ID names the container in errors.
	ID string
	// Pid is the container's first process. Its namespaces of pids and mounts are its own.
	Pid int
	// StartTime is when that began, see pidfd.StartTime: another process with its number is none of the container's.
	StartTime uint64
	// Cgroup is the container's: what is in it stands still meanwhile. It is as it was afterwards.
	Cgroup *cgroup.Cgroup
	// Images is the folder that gets the checkpoint, Work the one for the log, whose name is its path. They may be the same.
	Images, Work *os.File
	// Terminal says that the standard streams are a terminal of the container's own.
	Terminal bool
	// Network says that the network namespace is not to be dumped: the restored container will be given one. The host's is not,
	// whatever is said here.
	Network bool
	// EmptyNetwork dumps a network namespace without what is in it.
	EmptyNetwork bool
	// Held, where not nil, stays open as long as criu lives, also when it outlives us: a lock on it tells others so.
	Held *os.File
	// Leave lets the processes go on; else they are killed once the checkpoint is whole.
	Leave bool
	Allow

	// Config is a file with options for criu that count more than all these; "": the one that runc has, too.
	Config string
	// Parent is the path of the folder of a dump before this one, relative to Images: what has not changed since stays there.
	Parent string
	// Before makes such a dump: of memory alone, and the processes go on.
	Before bool
	// AutoDedup takes from the former dump what is in this one.
	AutoDedup bool
	// LazyPages keeps the memory's content here until a restore elsewhere asks for it, by the server. Status, where not nil,
	// gets a zero byte once criu is ready for that, and is closed.
	LazyPages bool
	Server    *PageServer
	Status    *os.File
}

const (
	dumpLog = "dump.log"
	// extNetwork is what a network namespace that comes from outside is called in a checkpoint, as runc has it.
	extNetwork = "extRootNetNS"
	// runcConfig is where operators put options for criu.
	runcConfig = "/etc/criu/runc.conf"
	// newnet is CLONE_NEWNET, the one namespace that can be dumped empty.
	newnet = 0x40000000
	// byNft is the way to hold up packets of connections meanwhile that needs no other program (criu_network_lock_method).
	byNft = 2
)

// Do makes the checkpoint. After an error the processes are as they were, running or frozen. Errors: Conflict
// where the first process ends meanwhile; Unsupported for a container that cannot be dumped, and for a criu that is missing, too old, or does not work here; Internal with criu's last
// words and the place of its log.
func (d *Dump) Do(ctx context.Context) error {
	what := "checkpoint of container " + d.ID
	p := process(d.Pid)
	if !d.runs() {
		return d.gone(what)
	}
	if err := apart(p); err != nil {
		return errkind.New(errkind.Of(err), "%s: %w", what, err)
	}
	if err := d.programs(); err != nil {
		return errkind.New(errkind.Of(err), "%s: %w", what, err)
	}
	program, _, err := usable(ctx, d.Program)
	if err != nil {
		return err
	}
	if err := d.ask(ctx, program); err != nil {
		return err
	}
	m, err := survey(p, d.Terminal)
	if err != nil {
		return errkind.New(errkind.Of(err), "%s: %w", what, err)
	}
	if d.Network {
		theirs, err := p.namespace("net")
		ours, oursErr := process(os.Getpid()).namespace("net")
		if err != nil || oursErr != nil {
			return errkind.New(errkind.Internal, "%s: look at its network: %w", what, errors.Join(err, oursErr))
		}
		m.Network = theirs != ours
	}
	o, err := d.options(p, m)
	if err != nil {
		return errkind.New(errkind.Of(err), "%s: %w", what, err)
	}
	w := &work{program: program, kind: kindDump, options: o}
	if d.Before {
		w.kind = kindPreDump
	} else if err := openFolder(d.Images).write(m); err != nil {
		return errkind.New(errkind.Of(err), "%s: %w", what, err)
	}
	w.notice = d.notice
	if d.Held != nil {
		w.files = append(w.files, d.Held)
	}
	// However ctx ends: who kills criu in the middle leaves processes behind that may not be whole.
	until, stop := context.WithoutCancel(ctx), func() {}
	if d.Leave || d.Before { // else criu kills them itself
		until, stop = whileAlive(until, p)
	}
	defer stop()
	if _, err := w.do(until); err != nil {
		if until.Err() != nil {
			return d.gone(what)
		}
		return explain(ctx, program, what, filepath.Join(d.Work.Name(), dumpLog), err)
	}
	if (d.Leave || d.Before) && !d.runs() {
		return d.gone(what) // what criu has saved may be another's, which has got its number
	}
	return nil
}

// runs reports whether the process of that number is still the one that is meant.
func (d *Dump) runs() bool {
	began, err := pidfd.StartTime(d.Pid)
	return err == nil && began == d.StartTime
}

func (d *Dump) gone(what string) error {
	return errkind.New(errkind.Conflict, "%s: its first process has ended meanwhile", what)
}

// notice tells who waits for it that memory can be asked for.
func (d *Dump) notice(a *answer, _ []*os.File) error {
	if a.script != "status-ready" || d.Status == nil {
		return nil
	}
	_, err := d.Status.Write([]byte{0})
	return errors.Join(err, d.Status.Close())
}

// programs refuses what runs from memory alone: criu would save it, and not find it again when it restores.
func (d *Dump) programs() error {
	if d.Cgroup == nil {
		return nil
	}
	pids, err := d.Cgroup.Procs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		exe, err := os.Readlink(process(pid).path("exe"))
		if err == nil && strings.HasPrefix(exe, "/memfd:") {
			return errkind.New(errkind.Unsupported, "a process of it (%d) runs a program that lies in memory alone, as the init of --init does: criu cannot restore that; start the container without it", pid)
		}
	}
	return nil
}

// ask finds out whether criu and the kernel can do what not all can.
func (d *Dump) ask(ctx context.Context, program string) error {
	if !d.LazyPages && !d.Before && d.Parent == "" {
		return nil
	}
	var features message
	features.number(1, 1)
	features.number(2, 1)
	a, err := (&work{program: program, kind: kindFeature, features: features}).do(ctx)
	if err != nil {
		return unfit(ctx, program, err)
	}
	switch {
	case d.LazyPages && !a.lazy:
		return errkind.New(errkind.Unsupported, "--lazy-pages: this kernel cannot hand out memory later (userfaultfd), says %s", program)
	case (d.Before || d.Parent != "") && !a.track:
		return errkind.New(errkind.Unsupported, "--pre-dump and --parent-path: this kernel does not tell what has changed in memory (CONFIG_MEM_SOFT_DIRTY), says %s", program)
	}
	return nil
}

func (d *Dump) options(p process, m *manifest) (*options, error) {
	images, err := self.Keep(d.Images, false)
	if err != nil {
		return nil, err
	}
	work, err := self.Keep(d.Work, false)
	if err != nil {
		return nil, err
	}
	o := &options{
		images: images, work: work, pid: d.Pid, log: dumpLog, leaveRunning: d.Leave, extUnix: d.ExtUnix, tcpEstablished: d.TCPEstablished,
		tcpSkip: d.TCPSkip, shellJob: d.ShellJob, fileLocks: d.FileLocks, linkRemap: d.LinkRemap, autoDedup: d.AutoDedup, lazyPages: d.LazyPages,
		orphanMaster: true, parent: d.Parent, trackMem: d.Before || d.Parent != "", config: d.Config, server: d.Server, networkLock: byNft,
	}
	if o.config == "" {
		o.config = runcConfig
	}
	if d.EmptyNetwork {
		o.emptyNs = newnet
	}
	if d.Cgroup != nil {
		o.freeze = cgroup.FreezerDir(d.Cgroup)
	}
	for _, point := range m.Mounts {
		o.external = append(o.external, "mnt["+point+"]:"+point)
	}
	for i, s := range m.Streams {
		if strings.HasPrefix(s, "file[") && !slices.Contains(m.Streams[:i], s) {
			o.external = append(o.external, s)
		}
	}
	if m.Network {
		link, err := p.namespace("net")
		if err != nil {
			return nil, err
		}
		o.external = append(o.external, fmt.Sprintf("%s:%s", strings.Replace(link, ":", "", 1), extNetwork)) // net[4026531840]:key
	}
	return o, nil
}
