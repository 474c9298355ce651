package seccomp

import (
	_ "embed"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

//go:generate go run ./internal/gen syscalls.txt

//go:embed syscalls.txt
var syscallTable string

// architecture is one way of calling the kernel.
type architecture struct {
	name   specs.Arch
	column int    // of syscallTable
	audit  uint32 // seccomp_data.arch
	bit    uint32 // set in every number
	wide   bool   // arguments have 64 bits
}

// The architectures in the order of the table's columns.
var architectures = [...]*architecture{
	{name: specs.ArchX86_64, column: 1, audit: unix.AUDIT_ARCH_X86_64, wide: true},
	{name: specs.ArchX86, column: 2, audit: unix.AUDIT_ARCH_I386},
	{name: specs.ArchX32, column: 3, audit: unix.AUDIT_ARCH_X86_64, bit: x32Bit, wide: true},
	{name: specs.ArchAARCH64, column: 4, audit: unix.AUDIT_ARCH_AARCH64, wide: true},
	{name: specs.ArchARM, column: 5, audit: unix.AUDIT_ARCH_ARM},
}

// privateCalls is where arm's own calls begin, far above the ordinary ones.
const privateCalls = 0x0f0000

// native is what this program itself runs on; nil where the compiler has no table for it.
var native = map[string]*architecture{"amd64": architectures[0], "arm64": architectures[3]}[runtime.GOARCH]

// foreign are the architectures that a profile may name although no call of theirs can be made on a machine whose
// table we have.
var foreign = [...]specs.Arch{specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL,
	specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390,
	specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K,
	specs.ArchSH, specs.ArchSHEB}

// Architectures lists the architectures that a profile may name.
func Architectures() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, string(a.name))
	}
	for _, f := range foreign {
		names = append(names, string(f))
	}
	slices.Sort(names)
	return names
}

// selectArchitectures returns the native one first, then those of the profile that this machine's kernel can run.
func selectArchitectures(names []specs.Arch, native *architecture) ([]*architecture, error) {
	if native == nil {
		return nil, errkind.New(errkind.Unsupported, "compile seccomp profile: no table of system calls for %s", runtime.GOARCH)
	}
	out := []*architecture{native}
	intel := native.audit == unix.AUDIT_ARCH_X86_64
names:
	for _, name := range names {
		for _, arch := range architectures {
			if arch.name != name {
				continue
			}
			sameFamily := intel == (arch.column <= 3)
			for _, have := range out {
				sameFamily = sameFamily && have != arch
			}
			if sameFamily {
				out = append(out, arch)
			}
			continue names
		}
		for _, other := range foreign {
			if other == name {
				continue names
			}
		}
		return nil, errkind.New(errkind.Invalid, "seccomp architecture %q is unknown", name)
	}
	return out, nil
}

// call is one system call of one architecture.
type call struct {
	number uint32
	narrow string // the arguments of 32 bits or fewer, one digit each
	wide   bool
}

// tables holds the numbers of every architecture by name, read once.
var tables = sync.OnceValue(func() map[string][]string {
	byName := make(map[string][]string, 512)
	for line := range strings.Lines(syscallTable) {
		if fields := strings.Fields(line); fields[0] != "#" {
			byName[fields[0]] = fields
		}
	}
	return byName
})

// call finds name on a; the number is without a's bit.
func (a *architecture) call(name string) (call, bool) {
	row, ok := tables()[name]
	if !ok || row[a.column] == "-" {
		return call{}, false
	}
	number, err := strconv.ParseUint(row[a.column], 10, 32)
	return call{number: uint32(number), narrow: row[len(row)-1], wide: a.wide}, err == nil
}

// widen returns the conditions with narrow set where the kernel looks at 32 bits only: everywhere on a 32-bit
// architecture, else as the table says.
func (c call) widen(conditions []condition) []condition {
	out := make([]condition, len(conditions))
	for i, cond := range conditions {
		cond.narrow = !c.wide || strings.Contains(c.narrow, strconv.Itoa(int(cond.arg)))
		out[i] = cond
	}
	return out
}
