package oci

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/capability"
	"pier/kernel/spawn"
)

// identity adds the working folder, user, groups, capabilities and the system call filter, in the one order in which
// each step still has the right to do its work, and in which none of them gives a right back:
//
//	without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes first; with it, last
//	the bounding set needs CAP_SETPCAP, groups CAP_SETGID, user CAP_SETUID
//	capset comes after the user, who would lose them otherwise (keepcaps)
func (t *task) identity() error {
	noNewPrivs := t.process.NoNewPrivileges
	caps, err := parseCaps(t.process.Capabilities)
	if err != nil {
		return t.fail("capabilities", "", err)
	}
	if len(t.filter) > 0 && !noNewPrivs {
		t.seccomp()
	}
	cwd := t.process.Cwd
	entered := t.Slot() // 0 once the folder is entered
	t.Add("chdir", cwd, unix.SYS_CHDIR, t.String(cwd)).Into(entered).Tolerate(unix.EACCES, unix.EPERM)
	t.Add("prctl PR_SET_KEEPCAPS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_KEEPCAPS), spawn.Int(1), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	for n := 0; n <= caps.last; n++ {
		if caps.bounding&(1<<n) == 0 {
			t.Add("prctl PR_CAPBSET_DROP", fmt.Sprint(n), unix.SYS_PRCTL, spawn.Int(unix.PR_CAPBSET_DROP), spawn.Int(n), spawn.Int(0), spawn.Int(0), spawn.Int(0))
		}
	}
	t.user()
	t.Add("prctl PR_SET_KEEPCAPS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_KEEPCAPS), spawn.Int(0), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	for i := range data {
		shift := 32 * i
		data[i] = unix.CapUserData{Effective: uint32(caps.effective >> shift), Permitted: uint32(caps.permitted >> shift), Inheritable: uint32(caps.inheritable >> shift)}
	}
	t.Add("capset", "", unix.SYS_CAPSET, spawn.Pointer(t.List, header), spawn.Pointer(t.List, data))
	t.Add("prctl PR_CAP_AMBIENT", "", unix.SYS_PRCTL, spawn.Int(unix.PR_CAP_AMBIENT), spawn.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	for n := 0; n <= caps.last; n++ {
		if caps.ambient&(1<<n) != 0 {
			t.Add("prctl PR_CAP_AMBIENT", fmt.Sprint(n), unix.SYS_PRCTL, spawn.Int(unix.PR_CAP_AMBIENT), spawn.Int(unix.PR_CAP_AMBIENT_RAISE), spawn.Int(n), spawn.Int(0), spawn.Int(0))
		}
	}
	// A folder that root may not enter (a squashed network mount) may be open to the user.
	tried := t.Check("chdir", cwd, t.Address(entered), ^uint64(0), 0, unix.EACCES).Tolerate(unix.EACCES)
	t.Add("chdir", cwd, unix.SYS_CHDIR, t.String(cwd))
	tried.OnSuccess(t.Here())
	// The kernel says "(unreachable)" of a folder outside the root, into which a leaked descriptor could have led.
	where := make([]byte, unix.PathMax)
	t.Add("getcwd", cwd, unix.SYS_GETCWD, spawn.Slice(t.List, where), spawn.Int(len(where)))
	t.Check("check working folder", cwd, spawn.Slice(t.List, where), 0xff, '/', unix.EXDEV)
	if noNewPrivs {
		t.Add("prctl PR_SET_NO_NEW_PRIVS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_NO_NEW_PRIVS), spawn.Int(1), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	}
	umask := uint32(0o022)
	if t.process.User.Umask != nil {
		umask = *t.process.User.Umask
	}
	t.Add("umask", "", unix.SYS_UMASK, spawn.Int(umask))
	if noNewPrivs && t.listener != nil { // while the parent is there to send the listener away
		t.seccomp()
	}
	return nil
}

// user adds groups, group and user. The primary group is among the supplementary ones, as login does it, so that
// "everyone but this group" permissions hold.
func (t *task) user() {
	u := &t.process.User
	groups := append(make([]uint32, 0, len(u.AdditionalGids)+1), u.AdditionalGids...)
	if !slices.Contains(groups, u.GID) {
		groups = append(groups, u.GID)
	}
	t.Add("setgroups", "", unix.SYS_SETGROUPS, spawn.Int(len(groups)), spawn.Slice(t.List, groups))
	t.Add("setresgid", fmt.Sprint(u.GID), unix.SYS_SETRESGID, spawn.Int(u.GID), spawn.Int(u.GID), spawn.Int(u.GID))
	t.Add("setresuid", fmt.Sprint(u.UID), unix.SYS_SETRESUID, spawn.Int(u.UID), spawn.Int(u.UID), spawn.Int(u.UID))
}

type capSets struct {
	bounding, effective, permitted, inheritable, ambient uint64
	last                                                 int // the highest capability that the kernel knows
}

// parseCaps turns names into sets. What the specification calls inheritable is not taken over: inheritable capabilities
// outlive a change of user and an exec of a marked file (CVE-2022-29162 and its kin). Only ambient capabilities,
// which cannot be without, put themselves there.
func parseCaps(c *specs.LinuxCapabilities) (capSets, error) {
	all, err := capability.Mask(capability.All())
	if err != nil {
		return capSets{}, err
	}
	sets := capSets{last: 63}
	for sets.last > 0 && all&(1<<sets.last) == 0 {
		sets.last--
	}
	if c == nil {
		return sets, nil
	}
	for _, set := range []struct {
		to    *uint64
		names []string
	}{{&sets.bounding, c.Bounding}, {&sets.effective, c.Effective}, {&sets.permitted, c.Permitted}, {&sets.ambient, c.Ambient}} {
		if *set.to, err = capability.Mask(set.names); err != nil {
			return sets, err
		}
	}
	sets.effective &= sets.permitted
	sets.ambient &= sets.permitted
	sets.inheritable = sets.ambient
	return sets, nil
}

// seccomp adds the load of the filter.
func (t *task) seccomp() {
	filters := unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&t.filter[0])), len(t.filter)/8)
	spawn.Slice(t.List, t.filter)
	program := &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if t.listener != nil {
		t.listener.Arrive(t.Builder)
	}
	t.Add("seccomp", "", unix.SYS_SECCOMP, spawn.Int(unix.SECCOMP_SET_MODE_FILTER), spawn.Int(t.filterBy), spawn.Pointer(t.List, program))
	if t.listener != nil {
		t.listener.leave(t.Builder)
	}
}
