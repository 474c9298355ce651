package vm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
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
	a := archive{t: t, w: bufio.NewWriterSize(f, 1<<20), folders: map[string]bool{".": true}}
	for _, folder := range []string{"dev", "proc", "mnt"} {
		a.folder(folder)
	}
	a.file("bin/busybox", "/bin/busybox")
	a.file("init", "testdata/init.sh")
	a.file("checks.sh", "testdata/checks.sh")
	for _, program := range []string{"pier", "pierd", "pier-runtime"} {
		a.file("pier/"+program, filepath.Join(bin, program))
	}
	a.file("busybox.tar", lab.Busybox(t, dir))
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
	t       *testing.T
	w       *bufio.Writer
	inode   int
	folders map[string]bool
}

// folder adds a folder and those above it, unless it is there.
func (a *archive) folder(name string) {
	if !a.folders[name] {
		a.folder(filepath.Dir(name))
		a.folders[name] = true
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

// linked adds a program of this machine with the libraries that it is linked to, all at their own places.
func (a *archive) linked(program string) {
	a.t.Helper()
	a.file(program[1:], program)
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		a.t.Fatalf("ldd %s: %v", program, err)
	}
	for field := range strings.FieldsSeq(string(out)) { // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f...)"
		if strings.HasPrefix(field, "/") {
			a.file(field[1:], field)
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
