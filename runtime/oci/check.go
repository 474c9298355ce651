package oci

import (
	"path"
	"strings"

	"pier/kernel/probe"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/rootfs"
)

// check refuses a configuration that cannot be carried out, before anything is done for it.
func (s *start) check() error {
	if s.c.ID == "" || strings.ContainsAny(s.c.ID, "/\x00") || s.c.ID == "." || s.c.ID == ".." {
		return errkind.New(errkind.Invalid, "container name %q is not one path component", s.c.ID)
	}
	if s.process == nil {
		return errkind.New(errkind.Invalid, "it has no process")
	}
	if err := s.task.checkProcess(); err != nil {
		return err
	}
	for _, name := range []string{s.spec.Hostname, s.spec.Domainname} {
		if len(name) > 64 || strings.ContainsRune(name, 0) {
			return errkind.New(errkind.Invalid, "host or domain name %q: longer than 64 bytes", name)
		}
	}
	if s.linux.MountLabel != "" && !probe.SELinux() {
		return errkind.New(errkind.Unsupported, "linux.mountLabel is given, but SELinux is off on this machine")
	}
	if s.linux.IntelRdt != nil {
		return errkind.New(errkind.Unsupported, "linux.intelRdt is not supported; remove it")
	}
	if err := s.checkDevices(); err != nil {
		return err
	}
	return rootfs.Check(s.spec, s.linux)
}

// checkProcess looks at what Start and Exec have in common.
func (t *task) checkProcess() error {
	p := t.process
	if len(p.Args) == 0 {
		return errkind.New(errkind.Invalid, "no command specified")
	}
	if !path.IsAbs(p.Cwd) {
		return errkind.New(errkind.Invalid, "working folder %q is not an absolute path", p.Cwd)
	}
	for _, list := range [][]string{p.Args, p.Env, {p.Cwd}} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return errkind.New(errkind.Invalid, "%q holds a zero byte", s)
			}
		}
	}
	const noID = ^uint32(0) // to the kernel: leave as it is
	ids := append([]uint32{p.User.UID, p.User.GID}, p.User.AdditionalGids...)
	for _, id := range ids {
		if id >= noID {
			return errkind.New(errkind.Invalid, "user or group %d is out of range", id)
		}
	}
	if p.SelinuxLabel != "" && !probe.SELinux() {
		return errkind.New(errkind.Unsupported, "process.selinuxLabel is given, but SELinux is off on this machine")
	}
	if p.ApparmorProfile != "" && p.ApparmorProfile != "unconfined" && !probe.AppArmor() {
		return errkind.New(errkind.Unsupported, "process.apparmorProfile is given, but AppArmor is off on this machine")
	}
	if p.Terminal && (t.stdio != Stdio{}) {
		return errkind.New(errkind.Invalid, "a process with a terminal takes no other streams")
	}
	if t.preserve < 0 || t.preserve > 1<<16 {
		return errkind.New(errkind.Invalid, "%d descriptors to keep open", t.preserve)
	}
	return nil
}
