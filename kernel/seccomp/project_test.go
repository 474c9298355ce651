package seccomp

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestKeepProject: what changes a file's project is refused whatever a profile allows, and nothing else is answered otherwise
// than before.
func TestKeepProject(t *testing.T) {
	byDefault, err := Default(defaultCaps)
	if err != nil {
		t.Fatal(err)
	}
	notty := uint(unix.ENOTTY)
	profiles := map[string]*specs.LinuxSeccomp{
		"default": byDefault,
		"all":     {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86}},
		"own": {DefaultAction: specs.ActErrno, DefaultErrnoRet: &notty, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "ioctl", "file_setattr"}, Action: specs.ActAllow},
			{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: fsSetFlags, Op: specs.OpEqualTo}}}}},
	}
	for name, profile := range profiles {
		before, err := Compile(profile)
		if err != nil {
			t.Fatal(err)
		}
		after, err := Compile(KeepProject(profile))
		if err != nil {
			t.Fatal(err)
		}
		changed := 0
		for _, arch := range architectures {
			for nr := range uint32(600) {
				for _, request := range []uint64{0, 0x5401, fsSetXattr - 1, fsSetXattr, fsSetXattr | 1<<32, fsSetXattr + 1, fsSetFlags, fsSetFlags32, 0x80086601} {
					d := data{nr: nr | arch.bit, arch: arch.audit, args: [6]uint64{3, request}}
					was, _ := interpret(before, d)
					is, _ := interpret(after, d)
					call, _ := arch.call("ioctl")
					set, _ := arch.call("file_setattr")
					low := uint32(request)
					if nr == call.number && (low == fsSetXattr || low == fsSetFlags || low == fsSetFlags32) || nr == set.number {
						if is == unix.SECCOMP_RET_ALLOW {
							t.Errorf("%s, %s: call %d with %#x is allowed", name, arch.name, nr, request)
						}
						changed++
					} else if is != was {
						t.Errorf("%s, %s: call %d with %#x: %#x, was %#x", name, arch.name, nr, request, is, was)
					}
				}
			}
		}
		if changed == 0 {
			t.Errorf("%s: nothing was looked at", name)
		}
	}
}
