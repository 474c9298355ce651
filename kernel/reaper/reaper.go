//go:build linux && (amd64 || arm64)

package reaper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// start is where the program's code begins in our own text.
func start() *byte

// code is the assembly. It is never called, only copied.
func code()

// The program's memory: one page that is read and executed, at an address of its own. The assembly knows the places
// of the two texts, and the length of the second.
const (
	base      = 0x400000
	headers   = 64 + 56 // ELF header and one program header
	name      = "docker-init\x00"
	complaint = "docker-init: cannot execute the container's command\n"
)

// maxCode bounds the search for the end of the code.
const maxCode = 2048

// Open returns the program as a sealed memfd: nobody can change it, not even through /proc/PID/exe of a process that
// runs it, so that any number of containers may share it. The caller closes it. Errors: Unsupported where the
// administrator forbids executable memfds (vm.memfd_noexec).
func Open() (*os.File, error) {
	const execFlag = 0x10 // MFD_EXEC; Linux >= 6.3
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("docker-init", flags|execFlag)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("docker-init", flags)
	}
	if err == unix.EACCES {
		return nil, errkind.New(errkind.Unsupported, "make the init program: the kernel forbids executable memory files (sysctl vm.memfd_noexec): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the init program: %w", err)
	}
	f := os.NewFile(uintptr(fd), "docker-init")
	if _, err = f.Write(program()); err == nil {
		err = seal(fd)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make the init program: %w", err)
	}
	return f, nil
}

// seal keeps the content as it is and, on Linux >= 6.3, the permission to execute it: root in any of the containers owns
// the file, and could take that from all others.
func seal(fd int) error {
	const (
		content = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
		mode    = 0x20 // F_SEAL_EXEC
	)
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|content|mode)
	if err == unix.EINVAL {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|content)
	}
	return err
}

// program is the ELF file: headers, texts, code.
func program() []byte {
	text := unsafe.Slice(start(), maxCode)
	text = text[:bytes.Index(text, end)]
	size := uint64(headers + len(name) + len(complaint) + len(text))
	var b bytes.Buffer
	word := func(fields ...any) {
		for _, f := range fields {
			_ = binary.Write(&b, binary.LittleEndian, f) // fixed sizes into memory cannot fail
		}
	}
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	// type (executable), machine, version, entry, program headers, section headers, flags, sizes and counts
	word(uint16(2), uint16(machine), uint32(1), uint64(base+headers+len(name)+len(complaint)), uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0))
	// PT_LOAD, read and execute, offset, addresses, sizes, alignment
	word(uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000))
	b.WriteString(name + complaint)
	b.Write(text)
	return b.Bytes()
}
