package criu

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/capability"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// A checkpoint says what rights its processes have, and which mounts they see. Before they go on, all of that is held against
// the configuration of the container that they are to be: a checkpoint of a container that was allowed more is found out. It
// is no wall against who forges one, which criu has read as root by then. What is in an open file or socket, and in a filter of
// system calls, is not looked at, nor are groups, limits of resources, or mounts that are covered by others.

// verify refuses what was restored if it has more than the configuration gives. criu is in the same cgroup, with children of its
// own; all others are what it has made.
func (r *Restore) verify(s *stage, criu int) error {
	pids, err := r.Cgroup.Procs()
	if err != nil {
		return err
	}
	var bounding uint64
	if c := r.Spec.Process.Capabilities; c != nil {
		if bounding, err = capability.Mask(c.Bounding); err != nil {
			return err
		}
	}
	admin, err := capability.Mask([]string{"CAP_SYS_ADMIN"})
	if err != nil {
		return err
	}
	tables := map[string]bool{} // mount namespaces that were looked at
	for _, pid := range pids {
		p := process(pid)
		status, err := p.status("status")
		if errors.Is(err, fs.ErrNotExist) || err == nil && (pid == criu || status["PPid"] == strconv.Itoa(criu) || strings.HasPrefix(status["State"], "Z")) {
			continue // helpers end any time
		}
		if err != nil {
			return err
		}
		if err := r.verifyProcess(p, bounding); err != nil {
			return errkind.New(errkind.Of(err), "process %s of the checkpoint %w", status["Name"], err)
		}
		mounts, err := p.namespace("mnt")
		if err != nil {
			return err
		}
		if tables[mounts] || bounding&admin != 0 { // who may mount has mounted what it likes
			continue
		}
		tables[mounts] = true
		if err := r.verifyMounts(s, p); err != nil {
			return errkind.New(errkind.Of(err), "process %s of the checkpoint %w", status["Name"], err)
		}
	}
	return nil
}

// status reads one of the files of a process, or thread, of the form "Key: value".
func (p process) status(name string) (map[string]string, error) {
	f, err := os.Open(p.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]string{}
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		key, value, _ := strings.Cut(scan.Text(), ":")
		all[key] = strings.TrimSpace(value)
	}
	return all, scan.Err()
}

func (r *Restore) verifyProcess(p process, bounding uint64) error {
	forbidden := func(format string, args ...any) error {
		return errkind.New(errkind.Forbidden, "has more rights than the container: "+format, args...)
	}
	for _, n := range r.Spec.Linux.Namespaces {
		if err := r.verifyNamespace(p, n); err != nil {
			return err
		}
	}
	users, err := p.namespace("user")
	if err != nil {
		return err
	}
	ours, err := process(os.Getpid()).namespace("user")
	if err != nil {
		return err
	}
	if users != ours { // no container that is restored has one, and in there it has rights that nothing here compares
		return forbidden("it is in a user namespace of its own")
	}
	threads, err := os.ReadDir(p.path("task"))
	if err != nil {
		return err
	}
	for _, t := range threads {
		status, err := p.status("task/" + t.Name() + "/status")
		if err != nil {
			return err
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			has, err := strconv.ParseUint(status[set], 16, 64)
			if err != nil {
				return err
			}
			if more := has &^ bounding; more != 0 {
				return forbidden("%s in %s", strings.Join(capability.Names(more), ", "), set)
			}
		}
		if r.Spec.Process.NoNewPrivileges && status["NoNewPrivs"] != "1" {
			return forbidden("it may get new ones")
		}
		if uid := r.user(); uid != 0 && slices.ContainsFunc(strings.Fields(status["Uid"]), func(id string) bool { return id != strconv.Itoa(uid) }) {
			return forbidden("it is user %s, not %d", strings.Join(strings.Fields(status["Uid"]), "/"), uid)
		}
		if filtered := len(r.Seccomp) > 0 || r.Spec.Linux.Seccomp != nil; filtered && status["Seccomp"] != "2" {
			return forbidden("no filter of system calls")
		}
	}
	for kind, want := range map[string]string{"AppArmor profile": r.Spec.Process.ApparmorProfile, "SELinux label": r.Spec.Process.SelinuxLabel} {
		if want == "" || want == "unconfined" {
			continue
		}
		text, err := os.ReadFile(p.path("attr/current"))
		if err != nil {
			return err
		}
		has, _, _ := strings.Cut(strings.Trim(string(text), "\x00\n"), " (") // "docker-default (enforce)"
		if has != want && !strings.HasPrefix(has, want+"//") {
			return forbidden("its %s is %q, not %q", kind, has, want)
		}
	}
	return nil
}

// user is the one that all processes of the container are, as they have no way to become another one; 0 if they have some.
func (r *Restore) user() int {
	p := r.Spec.Process
	if c := p.Capabilities; !p.NoNewPrivileges || c != nil && slices.Contains(c.Effective, "CAP_SETUID") {
		return 0
	}
	return int(p.User.UID)
}

var namespaceFiles = map[specs.LinuxNamespaceType]string{
	specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.MountNamespace: "mnt", specs.IPCNamespace: "ipc",
	specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup", specs.UserNamespace: "user", specs.TimeNamespace: "time",
}

// verifyNamespace refuses a process in a namespace of the host that is to have its own, or one that was given.
func (r *Restore) verifyNamespace(p process, n specs.LinuxNamespace) error {
	file := namespaceFiles[n.Type]
	theirs, err := os.Stat(p.path("ns/" + file))
	if err != nil {
		return err
	}
	name := n.Path
	if n.Type == specs.NetworkNamespace && r.Netns != nil {
		given, err := r.Netns.Stat()
		if err != nil {
			return err
		}
		if !os.SameFile(theirs, given) {
			return errkind.New(errkind.Forbidden, "is in another network namespace than the container")
		}
		return nil
	}
	if name == "" {
		name = process(os.Getpid()).path("ns/" + file)
	}
	there, err := os.Stat(name)
	if err != nil {
		return err
	}
	if same := os.SameFile(theirs, there); same != (n.Path != "") {
		return errkind.New(errkind.Forbidden, "is in another %s namespace than the container", file)
	}
	return nil
}

// verifyMounts refuses mounts that the configuration does not have, and those that it has covered or made read-only and that are not.
func (r *Restore) verifyMounts(s *stage, p process) error {
	all, err := p.mounts()
	if err != nil {
		return err
	}
	shown, err := process(os.Getpid()).mounts()
	if err != nil {
		return err
	}
	top := map[string]*mountinfo.Info{}
	for _, m := range all {
		top[m.Mountpoint] = m
		if !r.expected(m, s, shown) {
			return errkind.New(errkind.Forbidden, "sees more than the container: %s at %s is not among its mounts", m.FSType, m.Mountpoint)
		}
	}
	root, err := fsroot.Open(p.path("root"))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, c := range []struct {
		what  string
		paths []string
		ok    func(*mountinfo.Info) bool
	}{{"is not covered", r.Spec.Linux.MaskedPaths, mask}, {"is not read-only", r.Spec.Linux.ReadonlyPaths, readOnly}} {
		for _, name := range c.paths {
			name = path.Clean(name)
			if m := top[name]; m != nil && c.ok(m) {
				continue
			}
			if _, err := root.Lstat(name); err == nil {
				return errkind.New(errkind.Forbidden, "sees more than the container: %s %s", name, c.what)
			}
		}
	}
	if m := top["/"]; r.Spec.Root != nil && r.Spec.Root.Readonly && (m == nil || !readOnly(m)) {
		return errkind.New(errkind.Forbidden, "may write to the root, which is read-only in the container")
	}
	return nil
}

func readOnly(m *mountinfo.Info) bool { return slices.Contains(strings.Split(m.Options, ","), "ro") }

// mask reports whether a mount covers what is below: an empty tmpfs, or the null device.
func mask(m *mountinfo.Info) bool {
	return m.FSType == "tmpfs" && readOnly(m) || path.Base(m.Root) == "null" && (m.FSType == "devtmpfs" || m.FSType == "tmpfs")
}

// expected reports whether the configuration has such a mount. shown are those of the host, the stage's among them.
func (r *Restore) expected(m *mountinfo.Info, s *stage, shown []*mountinfo.Info) bool {
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return path.Clean(p) == m.Mountpoint })
	}
	switch {
	case m.Mountpoint == "/", m.Mountpoint == "/dev/console" && m.FSType == "devpts",
		has(r.Spec.Linux.MaskedPaths) && mask(m), has(r.Spec.Linux.ReadonlyPaths) && readOnly(m):
		return true
	}
	if place := s.places[m.Mountpoint]; place != "" {
		h := under(place, shown)
		return h != nil && h.Major == m.Major && h.Minor == m.Minor && path.Join(h.Root, strings.TrimPrefix(place, h.Mountpoint)) == m.Root && r.asWritable(m)
	}
	for i := range r.Spec.Mounts {
		if c := &r.Spec.Mounts[i]; path.Clean(c.Destination) == m.Mountpoint && (c.Type == m.FSType || c.Type == "cgroup") {
			return r.asWritable(m)
		}
	}
	return false
}

// under is the mount that the file place of the host lies on.
func under(place string, shown []*mountinfo.Info) (on *mountinfo.Info) {
	for _, h := range shown {
		if (h.Mountpoint == place || below(place, h.Mountpoint)) && (on == nil || len(h.Mountpoint) >= len(on.Mountpoint)) {
			on = h
		}
	}
	return on
}

// asWritable reports whether a mount that is read-only in the configuration is it.
func (r *Restore) asWritable(m *mountinfo.Info) bool {
	for i := range r.Spec.Mounts {
		c := &r.Spec.Mounts[i]
		if path.Clean(c.Destination) == m.Mountpoint && !slices.Contains(c.Options, shim.DelegateOption) {
			if slices.Contains(c.Options, "ro") && !readOnly(m) {
				return false
			}
		}
	}
	return true
}

// kill ends what was restored and must not run.
func (r *Restore) kill(err error) error {
	if killErr := r.Cgroup.Kill(); killErr != nil {
		return fmt.Errorf("%w; and it cannot be ended: %w", err, killErr)
	}
	return err
}
