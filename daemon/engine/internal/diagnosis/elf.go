package diagnosis

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
	"runtime"
	"strings"
)

// program is what the header of an ELF file says. The parsing is our own: debug/elf reads all sections, and memory for
// them, at the word of the file.
type program struct {
	machine elf.Machine
	order   binary.ByteOrder
	kind    elf.Type
	loader  string // its interpreter, "" for none
}

const (
	maxHeaders = 128  // program headers looked at
	maxLoader  = 4096 // bytes of the path of a loader, as the kernel has it
)

// parseELF reads the header and the name of the loader. The answer is false where the file breaks off or makes no sense.
func parseELF(f *file) (p program, ok bool) {
	h := f.head
	if len(h) < 64 {
		return p, false
	}
	wide := elf.Class(h[elf.EI_CLASS]) == elf.ELFCLASS64
	p.order = binary.LittleEndian
	if elf.Data(h[elf.EI_DATA]) == elf.ELFDATA2MSB {
		p.order = binary.BigEndian
	}
	p.kind, p.machine = elf.Type(p.order.Uint16(h[16:])), elf.Machine(p.order.Uint16(h[18:]))
	// Where the program headers are, their size and number, and where in one the offset and size of its content are.
	at, size, count := int64(p.order.Uint32(h[28:])), int(p.order.Uint16(h[42:])), int(p.order.Uint16(h[44:]))
	least := 32
	if wide {
		at, size, count, least = int64(p.order.Uint64(h[32:])), int(p.order.Uint16(h[54:])), int(p.order.Uint16(h[56:])), 56
	}
	if at < 0 || size < least || size > 256 {
		return p, count == 0
	}
	table := f.at(at, size*min(count, maxHeaders))
	if len(table) < size*min(count, maxHeaders) {
		return p, false
	}
	for ; len(table) >= size; table = table[size:] {
		if elf.ProgType(p.order.Uint32(table)) != elf.PT_INTERP {
			continue
		}
		offset, length := int64(p.order.Uint32(table[4:])), uint64(p.order.Uint32(table[16:]))
		if wide {
			offset, length = int64(p.order.Uint64(table[8:])), p.order.Uint64(table[32:])
		}
		if offset < 0 || length == 0 || length > maxLoader {
			return p, false
		}
		p.loader, _, _ = strings.Cut(string(f.at(offset, int(length))), "\x00")
	}
	return p, true
}

// architecture names what a program is built for as images do, such as arm64.
func (p program) architecture() string {
	little := p.order == binary.LittleEndian
	switch p.machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_386:
		return "386"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_LOONGARCH:
		return "loong64"
	case elf.EM_PPC64:
		if little {
			return "ppc64le"
		}
		return "ppc64"
	case elf.EM_MIPS:
		if little {
			return "mipsle"
		}
		return "mips"
	}
	return strings.ToLower(strings.TrimPrefix(p.machine.String(), "EM_"))
}

// binary explains what is wrong with a program for Linux.
func (s Subject) binary(name string, f *file) string {
	p, ok := parseELF(f)
	if own := runtime.GOARCH; len(f.head) >= 64 && p.architecture() != own && !runsToo(own, p.architecture()) {
		return fmt.Sprintf("%s is built for linux/%s and this machine is linux/%s: take the image for this architecture (pull or build it with "+
			"--platform linux/%s), or install an emulator for the other one (Debian's qemu-user-static)", name, p.architecture(), own, own)
	}
	switch {
	case !ok:
		return fmt.Sprintf("%s is a damaged program, its file breaks off: copy or download it again", name)
	case p.kind != elf.ET_EXEC && p.kind != elf.ET_DYN:
		return fmt.Sprintf("%s is an object file, which has yet to be linked to a program", name)
	case p.loader == "" || !path.IsAbs(p.loader):
		return ""
	case s.Tree.exists(p.loader):
		return s.inspectLoader(p.loader)
	}
	has := ""
	switch {
	case s.Tree.exists("/etc/alpine-release"), s.Tree.exists(muslLoader()):
		has = " (it has musl)"
	case s.Tree.exists("/etc/ld.so.cache"), s.Tree.exists("/lib64/ld-linux-x86-64.so.2"), s.Tree.exists("/lib/ld-linux-aarch64.so.1"):
		has = " (it has glibc)"
	}
	return fmt.Sprintf("%s needs the loader %s%s, which the image does not have%s: build it without (Go: CGO_ENABLED=0, C: -static), or use a base image with that C library",
		name, clip(p.loader), library(p.loader), has)
}

// inspectLoader explains what keeps a loader, which exists, from being executed.
func (s Subject) inspectLoader(name string) string {
	f, err := s.Tree.open(name)
	if err != nil {
		return ""
	}
	defer f.close()
	p, ok := parseELF(f)
	if f.Mode().IsRegular() && ok && p.architecture() == runtime.GOARCH && f.Mode().Perm()&0o111 != 0 {
		return ""
	}
	return fmt.Sprintf("the loader %s is damaged or not executable: take it from its package again", clip(name))
}

// library names the C library to which a loader belongs.
func library(loader string) string {
	switch base := path.Base(loader); {
	case strings.HasPrefix(base, "ld-musl-"):
		return " of musl (Alpine)"
	case strings.HasPrefix(base, "ld-linux"), strings.HasPrefix(base, "ld.so"), strings.HasPrefix(base, "ld64.so"):
		return " of glibc (Debian, Ubuntu, Fedora)"
	}
	return ""
}

func muslLoader() string {
	name := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return "/lib/ld-musl-" + name + ".so.1"
}

// runsToo reports whether a machine executes programs of another architecture by itself.
func runsToo(own, other string) bool {
	return own == "amd64" && other == "386" || own == "arm64" && other == "arm"
}
