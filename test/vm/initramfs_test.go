package vm

import (
	"bufio"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pier/test/lab"
)

// initramfs writes the file system that the machine boots from: a cpio archive in the "newc" format, which is the one
// that the kernel reads (Documentation/driver-api/early-userspace/buffer-format.rst).
// tests is the folder with test programs: rooms/, and programs/ where they are wanted.
func initramfs(t *testing.T, bin, tests string, programs bool, k kernel) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := archive{t: t, w: bufio.NewWriterSize(f, 1<<20), kernel: k, seen: map[string]bool{".": true}}
	for _, folder := range []string{"dev", "proc", "mnt", "lib64"} {
		a.folder(folder)
	}
	busybox := a.source("/bin/busybox")
	a.file("bin/busybox", busybox)
	a.file("init", "testdata/init.sh")
	a.file("checks.sh", "testdata/checks.sh")
	for _, program := range []string{"pier", "pierd", "pier-runtime"} {
		a.file("pier/"+program, filepath.Join(bin, program))
	}
	a.file("busybox.tar", lab.BusyboxOf(t, dir, busybox))
	a.linked("/usr/sbin/nft") // some tests look at rules through it
	a.linked("/usr/bin/chattr")
	for _, program := range []string{"/usr/sbin/criu", "/usr/bin/tar", "/usr/bin/gzip"} { // the first uses the others
		a.linked(program)
	}
	for folder, wanted := range map[string]bool{"rooms": true, "programs": programs} {
		list, err := filepath.Glob(filepath.Join(tests, folder, "*.test"))
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range list {
			if wanted {
				a.file("tests/"+folder+"/"+filepath.Base(program), program)
			}
		}
	}
	for i, module := range k.modules {
		a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), module)
	}
	a.folder("etc")
	a.add("etc/passwd", 0o100644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.add("etc/group", 0o100644, []byte("root:x:0:\n"))
	a.add("etc/protocols", 0o100644, []byte("icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n"))
	a.add("TRAILER!!!", 0, nil)
	if err := a.w.Flush(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

type archive struct {
	t      *testing.T
	w      *bufio.Writer
	kernel kernel // whose machine it is for
	inode  int
	seen   map[string]bool // folders and libraries
}

// folder adds a folder and those above it, unless it is there.
func (a *archive) folder(name string) {
	if !a.seen[name] {
		a.folder(filepath.Dir(name))
		a.seen[name] = true
		a.add(name, 0o040755, nil)
	}
}

func (a *archive) file(name, source string) {
	a.t.Helper()
	data, err := os.ReadFile(source)
	if err != nil {
		a.t.Fatal(err)
	}
	a.folder(filepath.Dir(name))
	a.add(name, 0o100755, data)
}

// source finds a file of the machine's Debian, whose packages have some folders in /usr that others have not.
func (a *archive) source(name string) string {
	a.t.Helper()
	for _, name := range []string{name, "/usr" + name, strings.TrimPrefix(name, "/usr")} {
		path := filepath.Join(a.kernel.root, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	a.t.Fatalf("no %s in %s", name, a.kernel.root)
	return ""
}

// linked adds a program, or a library, with those that it is linked to and the one that loads them.
func (a *archive) linked(name string) {
	a.t.Helper()
	if a.seen[name] {
		return
	}
	a.seen[name] = true
	path := a.source(name)
	a.file(name[1:], path)
	f, err := elf.Open(path)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil {
		a.t.Fatalf("%s: %v", path, err)
	}
	for _, library := range libraries {
		if !strings.HasPrefix(library, "ld-linux") {
			a.linked("/lib/" + a.kernel.arch.machine + "-linux-gnu/" + library)
		}
	}
	for _, part := range f.Progs {
		if part.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(part.Open())
			if err != nil {
				a.t.Fatalf("%s: %v", path, err)
			}
			a.linked(strings.TrimRight(string(loader), "\x00"))
		}
	}
}

func (a *archive) add(name string, mode int, data []byte) {
	a.inode++
	// inode, mode, uid, gid, links, mtime, size, device and its minor, the node's own, length of the name, checksum
	head := "070701"
	for _, n := range []int{a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		head += fmt.Sprintf("%08x", n)
	}
	pad := func(n int) []byte { return make([]byte, (4-n%4)%4) }
	_, _ = a.w.WriteString(head + name + "\x00")
	_, _ = a.w.Write(pad(len(head) + len(name) + 1))
	_, _ = a.w.Write(data)
	_, _ = a.w.Write(pad(len(data))) // errors stay with the writer until Flush
}
