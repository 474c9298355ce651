// Package probe asks the running kernel what it is and what it can do.
//
// Start reading at Require.
package probe

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Version is a kernel's version as far as features go by it.
type Version struct{ Major, Minor int }

// String returns "6.18".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// AtLeast reports whether v is w or newer.
func (v Version) AtLeast(w Version) bool {
	return v.Major > w.Major || v.Major == w.Major && v.Minor >= w.Minor
}

// Oldest is the oldest kernel on which Pier runs: mount_setattr(2) came with 5.12, cgroup.kill with 5.14, and 5.15 is
// the first with both that is still cared for.
func Oldest() Version { return Version{5, 15} }

// Release returns the kernel's own name of its release, as uname -r does.
func Release() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return unix.ByteSliceToString(uts.Release[:]), nil
}

// Kernel returns the version of the running kernel.
func Kernel() (Version, error) {
	release, err := Release()
	if err != nil {
		return Version{}, err
	}
	return parse(release)
}

func parse(release string) (Version, error) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) >= 2 {
		minor := parts[1]
		if end := strings.IndexFunc(minor, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			minor = minor[:end]
		}
		a, errA := strconv.Atoi(parts[0])
		b, errB := strconv.Atoi(minor)
		if errA == nil && errB == nil {
			return Version{a, b}, nil
		}
	}
	return Version{}, fmt.Errorf("kernel release %q: it does not begin with a version", release)
}

// Require returns nil if the running kernel is at least needed, else an errkind.Unsupported that says what needs it.
func Require(what string, needed Version) error {
	have, err := Kernel()
	if err != nil {
		return err
	}
	if !have.AtLeast(needed) {
		return errkind.New(errkind.Unsupported, "%s needs Linux >= %v; this is %v", what, needed, have)
	}
	return nil
}

// SELinux reports whether SELinux is on.
func SELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

// AppArmor reports whether AppArmor is on.
func AppArmor() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
}
