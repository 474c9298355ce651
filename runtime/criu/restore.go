package criu

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/pidfd"
	"pier/kernel/self"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// Restore says which checkpoint is to become a container, and what that is to have of its own.
type Restore struct {
	// Container is what the container is besides the checkpoint. ID, Bundle, Rootfs (used up), Netns, Cgroup, Stdio, Width
	// and Height are as for oci.Start. Of Spec count Root, Mounts, Linux.MaskedPaths, Linux.Namespaces, the terminal, and those hooks that
	// run outside of the container. Cgroup is not nil.
	oci.Container
	// Program is criu's path or name; "" for the one on PATH.
	Program string
	// Images is the folder with the checkpoint, Work the one for the log, whose name is its path. They may be the same.
	Images, Work *os.File
	// Dir is a folder of the host in which the root and the sources of mounts are shown to criu. It is made, and removed again;
	// should we die, Clear removes it.
	Dir string
	Allow

	Config       string // as in Dump
	LSMProfile   string // security profile of the processes, in place of the one in the checkpoint
	LSMMount     string // the same for the context of mounts
	EmptyNetwork bool   // do not restore what was in the network namespace
	AutoDedup    bool   // take from the checkpoint what has been read
	LazyPages    bool   // get the memory's content when it is used, from "criu lazy-pages"
	Parents      bool   // the checkpoint may lead to the folder of a former dump

	// KeepLog, where not empty, is the path to which the log of a restore that failed is moved from Work.
	KeepLog string
}

const restoreLog = "restore.log"

// Do restores the container and returns its first process, a child of the caller, which runs. After an error nothing is left
// of it. Errors: as for Dump; Invalid for a folder that is no checkpoint, or not one of such a container.
func (r *Restore) Do(ctx context.Context) (p *oci.Process, err error) {
	what := "restore of container " + r.ID
	fail := func(err error) (*oci.Process, error) { return nil, errkind.New(errkind.Of(err), "%s: %w", what, err) }
	if err := r.check(); err != nil {
		return fail(err)
	}
	if err := plain(r.Images, r.Parents); err != nil {
		return fail(err)
	}
	m, err := openFolder(r.Images).read()
	if err != nil {
		return fail(err)
	}
	if err := r.fits(m); err != nil {
		return fail(err)
	}
	program, _, err := usable(ctx, r.Program)
	if err != nil {
		return nil, err
	}
	s := &stage{dir: r.Dir, places: map[string]string{}}
	defer func() {
		closeAll(s.files)
		if clearErr := Clear(r.Dir); err == nil && clearErr != nil {
			p.Pidfd.Close()
			if p.Master != nil {
				p.Master.Close()
			}
			_ = r.Cgroup.Kill()
			p, err = nil, clearErr
		}
	}()
	external, err := r.show(s, m)
	if err != nil {
		return fail(err)
	}
	w := &work{program: program, kind: kindRestore, in: r.Cgroup, own: r.has(specs.CgroupNamespace), bound: r.Spec.Process.NoNewPrivileges, keyring: "_ses." + r.ID}
	if r.NoKeyring {
		w.keyring = ""
	}
	if w.options, err = r.options(s, m, external, w); err != nil {
		return fail(err)
	}
	p = &oci.Process{}
	w.notice = func(a *answer, files []*os.File) error { return r.notice(ctx, p, s, w.pid, a, files) }
	a, err := w.do(ctx)
	if err == nil && !s.verified {
		err = errkind.New(errkind.Internal, "criu did not tell when all was restored")
	}
	if err == nil {
		err = complete(p, a.pid)
	}
	if err != nil {
		if p.Master != nil {
			p.Master.Close()
		}
		_ = r.Cgroup.Kill() // criu ends what it has made, unless it was ended itself
		log := filepath.Join(r.Work.Name(), restoreLog)
		if r.KeepLog != "" && os.Rename(log, r.KeepLog) == nil {
			log = r.KeepLog
		}
		return nil, explain(ctx, program, what, log, err)
	}
	if r.Width != 0 && r.Height != 0 && p.Master != nil {
		_ = tty.SetSize(p.Master, r.Width, r.Height)
	}
	return p, nil
}

// complete fills p in for a child of ours.
func complete(p *oci.Process, pid int) (err error) {
	p.Pid = pid
	if p.Pidfd, err = pidfd.Open(pid, 0); err != nil {
		return err
	}
	if p.StartTime, err = pidfd.StartTime(pid); err != nil {
		p.Pidfd.Close()
	}
	return err
}

// check refuses a configuration that no checkpoint can be restored for.
func (r *Restore) check() error {
	if r.Spec.Linux == nil || r.Spec.Process == nil {
		return errkind.New(errkind.Invalid, "the configuration has no process or nothing for Linux")
	}
	for _, n := range r.Spec.Linux.Namespaces {
		if n.Path != "" && n.Type != specs.NetworkNamespace {
			return errkind.New(errkind.Unsupported, "it joins the %s namespace of others: only a network namespace can be joined by what is restored", n.Type)
		}
		if n.Type == specs.UserNamespace {
			return errkind.New(errkind.Unsupported, "a user namespace cannot be restored")
		}
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.MountNamespace} {
		if !r.has(kind) {
			return errkind.New(errkind.Unsupported, "it has no %s namespace of its own", kind)
		}
	}
	if h := r.Spec.Hooks; h != nil && len(h.CreateContainer)+len(h.StartContainer) > 0 {
		return errkind.New(errkind.Unsupported, "hooks that run inside of a container before its program (createContainer, startContainer) have no moment in a restore")
	}
	return nil
}

func (r *Restore) has(kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(r.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// fits refuses a checkpoint that is not one of such a container.
func (r *Restore) fits(m *manifest) error {
	if m.Terminal != r.Spec.Process.Terminal {
		return errkind.New(errkind.Invalid, "the checkpoint is of a container with terminal %v, this one has %v: make it with the same setting", m.Terminal, r.Spec.Process.Terminal)
	}
	if given := r.Netns != nil || r.network() != ""; m.Network != given {
		return errkind.New(errkind.Invalid, "the checkpoint is of a container whose network namespace came from outside: %v, and here: %v", m.Network, given)
	}
	return nil
}

// network is the path of the network namespace that is joined, "" for none.
func (r *Restore) network() string {
	for _, n := range r.Spec.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			return n.Path
		}
	}
	return ""
}

func (r *Restore) options(s *stage, m *manifest, external []string, w *work) (*options, error) {
	images, err := self.Keep(r.Images, false)
	if err != nil {
		return nil, err
	}
	dir, err := self.Keep(r.Work, false)
	if err != nil {
		return nil, err
	}
	o := &options{
		images: images, work: dir, log: restoreLog, root: s.root(), sibling: true, evasive: true, extUnix: r.ExtUnix, tcpEstablished: r.TCPEstablished,
		tcpClose: r.TCPClose, shellJob: r.ShellJob, fileLocks: r.FileLocks, autoDedup: r.AutoDedup, lazyPages: r.LazyPages, orphanMaster: true,
		config: r.Config, lsmProfile: r.LSMProfile, lsmMount: r.LSMMount, external: external, networkLock: byNft,
	}
	if o.config == "" {
		o.config = runcConfig
	}
	if r.EmptyNetwork {
		o.emptyNs = newnet
	}
	give := func(key string, f *os.File) {
		o.inherit = append(o.inherit, inherited{key, socketFD + 1 + len(w.files)})
		w.files = append(w.files, f)
	}
	if m.Network {
		netns := r.Netns
		if netns == nil {
			if netns, err = os.Open(r.network()); err != nil {
				return nil, err
			}
			s.files = append(s.files, netns)
		}
		give(extNetwork, netns)
	}
	given := map[string]bool{}
	for i, f := range []*os.File{r.Stdio.Stdin, r.Stdio.Stdout, r.Stdio.Stderr} {
		if key := m.Streams[i]; key != "" && !given[key] {
			given[key] = true
			give(key, f)
		}
	}
	return o, nil
}

// notice takes what criu hands over on the way.
func (r *Restore) notice(ctx context.Context, p *oci.Process, s *stage, criu int, a *answer, files []*os.File) error {
	switch a.script {
	case "orphan-pts-master":
		if len(files) != 1 || p.Master != nil {
			return errkind.New(errkind.Internal, "%d terminals came from criu", len(files))
		}
		master, err := tty.Adopt(files[0])
		if err != nil {
			return err
		}
		p.Master, files[0] = master, nil
	case "setup-namespaces":
		h := r.Spec.Hooks
		if h == nil {
			return nil
		}
		state := &specs.State{Version: specs.Version, ID: r.ID, Status: specs.StateCreating, Pid: a.scripts, Bundle: r.Bundle, Annotations: r.Spec.Annotations}
		//lint:ignore SA1019 old configurations have them
		if err := oci.RunHooks(ctx, "prestart", h.Prestart, state); err != nil {
			return err
		}
		return oci.RunHooks(ctx, "createRuntime", h.CreateRuntime, state)
	case "pre-resume": // all is in place and stands still; criu takes no "no" any more
		if err := r.verify(s, criu); err != nil {
			return r.kill(err)
		}
		s.verified = true
	}
	return nil
}
