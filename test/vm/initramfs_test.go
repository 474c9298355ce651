package vm

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pier/test/lab"
)

// initramfs writes the file system that the machine boots from: a cpio archive in the "newc" format, which is the one
// that the kernel reads (Documentation/driver-api/early-userspace/buffer-format.rst).
func initramfs(t *testing.T, bin string, k kernel) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := archive{t: t, w: bufio.NewWriterSize(f, 1<<20)}
	for _, folder := range []string{"bin", "dev", "proc", "mnt", "modules", "pier", "etc"} {
		a.add(folder, 0o040755, nil)
	}
	a.file("bin/busybox", "/bin/busybox")
	a.file("init", "testdata/init.sh")
	a.file("checks.sh", "testdata/checks.sh")
	for _, program := range []string{"pier", "pierd", "pier-runtime"} {
		a.file("pier/"+program, filepath.Join(bin, program))
	}
	a.file("busybox.tar", lab.Busybox(t, dir))
	for i, module := range k.modules {
		a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), module)
	}
	a.add("etc/passwd", 0o100644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.add("etc/group", 0o100644, []byte("root:x:0:\n"))
	a.add("TRAILER!!!", 0, nil)
	if err := a.w.Flush(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

type archive struct {
	t     *testing.T
	w     *bufio.Writer
	inode int
}

func (a *archive) file(name, source string) {
	a.t.Helper()
	data, err := os.ReadFile(source)
	if err != nil {
		a.t.Fatal(err)
	}
	a.add(name, 0o100755, data)
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
