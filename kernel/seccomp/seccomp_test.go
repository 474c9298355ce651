package seccomp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// intel is what the default profile names on amd64. The tests of it are about its numbers, whatever they run on.
var intel = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}

var defaultCaps = []string{"CAP_CHOWN", "CAP_NET_RAW", "CAP_SETUID", "CAP_KILL", "CAP_SYS_CHROOT"}

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

func (d data) word(offset uint32) uint32 {
	switch {
	case offset == 0:
		return d.nr
	case offset == 4:
		return d.arch
	case offset >= 16 && offset < 64 && offset%4 == 0:
		arg := d.args[(offset-16)/8]
		if offset%8 == 4 {
			arg >>= 32
		}
		return uint32(arg)
	}
	panic("program loads an unaligned or foreign word")
}

// interpret runs a program as the kernel would and counts the instructions.
func interpret(p Program, d data) (result uint32, executed int) {
	var a uint32
	for pc := 0; ; pc++ {
		in := p[pc*instructionSize:]
		code, jt, jf, k := binary.LittleEndian.Uint16(in), in[2], in[3], binary.LittleEndian.Uint32(in[4:])
		executed++
		jump := func(yes bool) {
			if yes {
				pc += int(jt)
			} else {
				pc += int(jf)
			}
		}
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = d.word(k)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= k)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(a > k)
		case unix.BPF_RET | unix.BPF_K:
			return k, executed
		default:
			panic("program holds an instruction that the compiler does not write")
		}
	}
}

// evaluate answers from the profile itself, by the rules in the package's documentation and by nothing of the compiler
// but the tables.
func evaluate(p *specs.LinuxSeccomp, native *architecture, d data) uint32 {
	fallback, _ := answerOf(p.DefaultAction, p.DefaultErrnoRet)
	var arch *architecture
	for _, a := range architectures {
		if a.audit != d.arch || a != native && !slices.Contains(p.Architectures, a.name) {
			continue
		}
		if a.audit == unix.AUDIT_ARCH_X86_64 && d.nr != noSyscall && (d.nr >= x32Bit) != (a.bit != 0) {
			continue
		}
		arch = a
		break
	}
	if arch == nil {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	highest, private, named := int64(-1), []int64{}, false
	number := int64(d.nr)
	if number >= x32Bit {
		number -= int64(arch.bit)
	}
	for _, entry := range p.Syscalls {
		for _, name := range entry.Names {
			c, ok := arch.call(name)
			if ok && c.number < privateCalls {
				highest = max(highest, int64(c.number))
			} else if ok {
				private = append(private, int64(c.number))
			}
			named = named || ok && c.number|arch.bit == d.nr
		}
	}
	if !named && number > highest && (len(private) == 0 || number < slices.Min(private) || number > slices.Max(private)) {
		if a := fallback & unix.SECCOMP_RET_ACTION_FULL; a == unix.SECCOMP_RET_ALLOW || a == unix.SECCOMP_RET_LOG || a == unix.SECCOMP_RET_TRACE {
			return fallback
		}
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	conditional := uint32(0)
	matched := false
	for _, entry := range p.Syscalls {
		for _, name := range entry.Names {
			c, ok := arch.call(name)
			got, _ := answerOf(entry.Action, entry.ErrnoRet)
			if !ok || c.number|arch.bit != d.nr || got == fallback {
				continue
			}
			if len(entry.Args) == 0 {
				return got
			}
			indexes := map[uint]int{}
			holding := 0
			for _, arg := range entry.Args {
				indexes[arg.Index]++
				v, want, second := d.args[arg.Index], arg.Value, arg.ValueTwo
				if !arch.wide || strings.ContainsRune(c.narrow, rune('0'+arg.Index)) {
					v, want, second = v&0xffffffff, want&0xffffffff, second&0xffffffff
				}
				if map[specs.LinuxSeccompOperator]bool{
					specs.OpNotEqual: v != want, specs.OpLessThan: v < want, specs.OpLessEqual: v <= want,
					specs.OpEqualTo: v == want, specs.OpGreaterEqual: v >= want, specs.OpGreaterThan: v > want,
					specs.OpMaskedEqual: v&want == second&want,
				}[arg.Op] {
					holding++
				}
			}
			holds := holding == len(entry.Args)
			if len(indexes) < len(entry.Args) {
				holds = holding > 0
			}
			if holds && !matched {
				conditional, matched = got, true
			}
		}
	}
	if matched {
		return conditional
	}
	return fallback
}

// vectors are calls around everything that the profile mentions.
func vectors(p *specs.LinuxSeccomp, r *rand.Rand, count int) []data {
	var values []uint64
	for _, entry := range p.Syscalls {
		for _, arg := range entry.Args {
			for _, v := range []uint64{arg.Value, arg.ValueTwo} {
				values = append(values, v, v-1, v+1, v|1<<32, v^1<<63, v<<32, ^v)
			}
		}
	}
	values = append(values, 0, 1, 1<<32, 1<<63, ^uint64(0))
	audits := []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_MIPS}
	numbers := []uint32{noSyscall, noSyscall - 1, x32Bit - 1, 1 << 31, 0x0f0000, 0x0f0001, 0x0f0005, 0x0f0006, 500}
	argued := map[uint32]bool{}
	for _, entry := range p.Syscalls {
		for _, name := range entry.Names {
			for _, a := range architectures {
				if c, ok := a.call(name); ok && len(entry.Args) > 0 {
					argued[c.number|a.bit] = true
				}
			}
		}
	}
	for n := range argued {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	out := make([]data, 0, count)
	for range count {
		d := data{arch: audits[r.IntN(len(audits))]}
		if r.IntN(4) > 0 {
			d.arch = audits[r.IntN(3)]
		}
		switch r.IntN(3) {
		case 0:
			d.nr = numbers[r.IntN(len(numbers))]
		case 1:
			d.nr = r.Uint32N(600)
		case 2:
			d.nr = x32Bit | r.Uint32N(600)
		}
		for i := range d.args {
			d.args[i] = values[r.IntN(len(values))]
			if r.IntN(8) == 0 {
				d.args[i] = r.Uint64()
			}
			if d.arch == unix.AUDIT_ARCH_I386 || d.arch == unix.AUDIT_ARCH_ARM {
				d.args[i] &= 0xffffffff
			}
		}
		out = append(out, d)
	}
	return out
}

func checkProfile(t *testing.T, p *specs.LinuxSeccomp, native *architecture, r *rand.Rand, count int) {
	t.Helper()
	program, err := compile(p, native)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range vectors(p, r, count) {
		got, _ := interpret(program, d)
		if want := evaluate(p, native, d); got != want {
			t.Fatalf("call %d on arch %#x with %#x: program %#x, profile %#x", d.nr, d.arch, d.args, got, want)
		}
	}
}

func TestProgramIsTheProfile(t *testing.T) {
	for _, caps := range [][]string{nil, defaultCaps, {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_MODULE"}} {
		p, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		p.Architectures = intel
		checkProfile(t, p, architectures[0], rand.New(rand.NewPCG(1, 2)), 40000)
		p.Architectures = []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
		checkProfile(t, p, architectures[3], rand.New(rand.NewPCG(3, 4)), 20000)
	}
}

func TestRandomProfiles(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var names []string
	for name := range tables() {
		names = append(names, name)
	}
	slices.Sort(names)
	operators := []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess,
		specs.ActKillThread, specs.ActTrap, specs.ActLog, specs.ActTrace}
	numbers := []uint64{0, 1, 5, 0xffffffff, 1 << 32, 1<<32 | 5, 1 << 63, ^uint64(0)}
	for range 60 {
		errno := uint(r.IntN(100))
		p := &specs.LinuxSeccomp{DefaultAction: actions[r.IntN(len(actions))]}
		if p.DefaultAction == specs.ActErrno || p.DefaultAction == specs.ActTrace {
			p.DefaultErrnoRet = &errno
		}
		for _, a := range []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchX86_64} {
			if r.IntN(2) == 0 {
				p.Architectures = append(p.Architectures, a)
			}
		}
		for range r.IntN(150) {
			entry := specs.LinuxSyscall{Action: actions[r.IntN(len(actions))]}
			for range 1 + r.IntN(3) {
				entry.Names = append(entry.Names, names[r.IntN(len(names))])
			}
			for range r.IntN(4) {
				entry.Args = append(entry.Args, specs.LinuxSeccompArg{Index: uint(r.IntN(6)), Op: operators[r.IntN(7)],
					Value: numbers[r.IntN(len(numbers))], ValueTwo: numbers[r.IntN(len(numbers))]})
			}
			p.Syscalls = append(p.Syscalls, entry)
		}
		checkProfile(t, p, architectures[0], r, 1500)
	}
}

func TestDefaultClosesKnownHoles(t *testing.T) {
	p, err := Default(defaultCaps)
	if err != nil {
		t.Fatal(err)
	}
	p.Architectures = intel
	program, err := compile(p, architectures[0])
	if err != nil {
		t.Fatal(err)
	}
	eperm, enosys := uint32(unix.SECCOMP_RET_ERRNO|unix.EPERM), uint32(unix.SECCOMP_RET_ERRNO|unix.ENOSYS)
	const x86_64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	tests := []struct {
		what string
		d    data
		want uint32
	}{
		{"AF_INET", data{41, x86_64, [6]uint64{2}}, unix.SECCOMP_RET_ALLOW},
		{"AF_VSOCK", data{41, x86_64, [6]uint64{40}}, eperm},
		{"AF_VSOCK behind 33 bits", data{41, x86_64, [6]uint64{0x100000028}}, eperm},
		{"AF_ALG behind 33 bits", data{41, x86_64, [6]uint64{0x100000026}}, eperm},
		{"AF_VSOCK on x32", data{x32Bit | 41, x86_64, [6]uint64{0x100000028}}, eperm},
		{"AF_VSOCK on x86", data{359, i386, [6]uint64{40}}, eperm},
		{"socketcall", data{102, i386, [6]uint64{1}}, enosys},
		{"a call of the future", data{600, x86_64, [6]uint64{}}, enosys},
		{"no call", data{noSyscall, x86_64, [6]uint64{}}, enosys},
		{"clone3", data{435, x86_64, [6]uint64{}}, enosys},
		{"clone with a new user namespace", data{56, x86_64, [6]uint64{unix.CLONE_NEWUSER}}, eperm},
		{"fork by clone", data{56, x86_64, [6]uint64{uint64(unix.SIGCHLD)}}, unix.SECCOMP_RET_ALLOW},
		{"read as another machine", data{0, unix.AUDIT_ARCH_AARCH64, [6]uint64{}}, unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, tt := range tests {
		if got, _ := interpret(program, tt.d); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.what, got, tt.want)
		}
	}
	most := 0
	for nr := range uint32(470) {
		_, executed := interpret(program, data{nr: nr, arch: x86_64})
		most = max(most, executed)
	}
	t.Logf("%d instructions, at most %d executed", program.Len(), most)
	if most > 30 {
		t.Errorf("a call executes up to %d instructions; it should be about 15", most)
	}
}

func TestCompileIsDeterministicAndCheap(t *testing.T) {
	p, err := Default(defaultCaps)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := Compile(p); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("a second compilation differs (%v)", err)
		}
	}
	// How long it takes is up to the machine; what it makes on the way is not.
	made := testing.AllocsPerRun(5, func() { _, _ = Compile(p) })
	t.Logf("compiled with %.0f allocations", made)
	if made > 1000 {
		t.Errorf("compiling the default profile takes %.0f allocations", made)
	}
	var cache Cache
	a, err := cache.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cache.Compile(p)
	if err != nil || &a[0] != &b[0] {
		t.Errorf("the cache compiled twice (%v)", err)
	}
}

func TestDefaultIsCachedByCapabilities(t *testing.T) {
	var cache Cache
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_ADMIN", "CAP_BPF"}, {"CAP_SYS_ADMIN"}} {
		profile, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := Flags(profile); flags != 0 || err != nil {
			t.Errorf("the default profile has flags: %#x, %v", flags, err)
		}
		want, err := Compile(profile)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := cache.Default(caps); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: not what the profile compiles to (%v)", caps, err)
			}
		}
	}
	if len(cache.defaults) != 3 {
		t.Errorf("%d programs for 3 sets of capabilities", len(cache.defaults))
	}
}

func TestRefusals(t *testing.T) {
	big := uint(5000)
	rule := func(s specs.LinuxSyscall) *specs.LinuxSeccomp {
		s.Names = []string{"read"}
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
	}
	tests := []struct {
		what string
		p    *specs.LinuxSeccomp
		want errkind.Kind
	}{
		{"nil", nil, errkind.Invalid},
		{"no default", &specs.LinuxSeccomp{}, errkind.Invalid},
		{"notify", rule(specs.LinuxSyscall{Action: specs.ActNotify}), errkind.Invalid},
		{"notify by default", &specs.LinuxSeccomp{DefaultAction: specs.ActNotify, ListenerPath: "/x"}, errkind.Invalid},
		{"metadata", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}, errkind.Invalid},
		{"errno of another action", rule(specs.LinuxSyscall{Action: specs.ActLog, ErrnoRet: new(uint)}), errkind.Invalid},
		{"action", rule(specs.LinuxSyscall{Action: "SCMP_ACT_PRAY"}), errkind.Invalid},
		{"errno", rule(specs.LinuxSyscall{Action: specs.ActErrno, ErrnoRet: &big}), errkind.Invalid},
		{"operator", rule(specs.LinuxSyscall{Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_XX"}}}), errkind.Invalid},
		{"index", rule(specs.LinuxSyscall{Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}), errkind.Invalid},
		{"architecture", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_Z80"}}, errkind.Invalid},
		{"flag", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}}, errkind.Invalid},
	}
	for _, tt := range tests {
		if _, err := compile(tt.p, architectures[0]); !errkind.Is(err, tt.want) {
			t.Errorf("%s: %v, want an error that is %v", tt.what, err, tt.want)
		}
	}
}

func TestProfileFile(t *testing.T) {
	p, err := Load([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socketcall","mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}`), nil)
	if err != nil || len(p.Syscalls) != 1 || p.Syscalls[0].Names[0] != "socketcall" {
		t.Fatalf("Load = %+v, %v", p, err)
	}
	if _, err := Load([]byte(`{"defaultAction":`), nil); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("malformed profile: %v", err)
	}
}

// TestKernelTakesProgram loads the default program in a child process (this test, run again) and tries what it should
// allow and refuse.
func TestKernelTakesProgram(t *testing.T) {
	const child = "PIER_TEST_SECCOMP_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKernelTakesProgram$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("filtered well")) {
			t.Fatalf("child: %v\n%s", err, out)
		}
		return
	}
	p, err := Default(defaultCaps)
	if err != nil {
		t.Fatal(err)
	}
	program, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the filter is this thread's
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	prog := unix.SockFprog{Len: uint16(program.Len()), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatalf("the kernel refuses the program: %v", errno)
	}
	call := func(nr, a, b, c uintptr) unix.Errno {
		n, _, errno := unix.RawSyscall(nr, a, b, c)
		if errno == 0 && nr == unix.SYS_SOCKET {
			unix.Close(int(n))
		}
		return errno
	}
	tests := []struct {
		what      string
		nr        uintptr
		a, b, c   uintptr
		wantErrno unix.Errno
	}{
		{"socket AF_UNIX", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0, 0},
		{"socket AF_VSOCK", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0, unix.EPERM},
		{"socket AF_VSOCK behind 33 bits", unix.SYS_SOCKET, 0x100000028, unix.SOCK_SEQPACKET, 0, unix.EPERM},
		{"unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUTS, 0, 0, unix.EPERM},
		{"a call of the future", 600, 0, 0, 0, unix.ENOSYS},
		{"getpid", unix.SYS_GETPID, 0, 0, 0, 0},
	}
	for _, tt := range tests {
		if errno := call(tt.nr, tt.a, tt.b, tt.c); errno != tt.wantErrno {
			t.Errorf("%s: %v, want %v", tt.what, errno, tt.wantErrno)
		}
	}
	if !t.Failed() {
		t.Log("filtered well")
	}
}
