package diagnosis

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pier/kernel/fsroot"
)

func root(t testing.TB, files map[string]string) Tree {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := fsroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return Tree{Root: r}
}

var machines = map[string]uint16{"amd64": 62, "arm64": 183}

// elfFile is a program with at most a loader; bits is 32 or 64.
func elfFile(bits int, order binary.ByteOrder, machine uint16, loader string) string {
	head := make([]byte, 64)
	copy(head, "\x7fELF")
	head[4], head[5] = byte(bits/32), 1
	if order == binary.BigEndian {
		head[5] = 2
	}
	order.PutUint16(head[16:], 2)
	order.PutUint16(head[18:], machine)
	segment := make([]byte, 56)
	order.PutUint32(segment, 3)
	if bits == 64 {
		order.PutUint64(head[32:], 64)
		order.PutUint16(head[54:], 56)
		order.PutUint16(head[56:], 1)
		order.PutUint64(segment[8:], 120)
		order.PutUint64(segment[32:], uint64(len(loader)+1))
	} else {
		order.PutUint32(head[28:], 64)
		order.PutUint16(head[42:], 32)
		order.PutUint16(head[44:], 1)
		order.PutUint32(segment[4:], 120)
		order.PutUint32(segment[16:], uint32(len(loader)+1))
	}
	if loader == "" {
		order.PutUint16(head[44:], 0)
		order.PutUint16(head[56:], 0)
	}
	return string(head) + string(segment) + loader + "\x00"
}

func TestExplain(t *testing.T) {
	own := machines[runtime.GOARCH]
	little := binary.LittleEndian
	tree := root(t, map[string]string{
		"etc/alpine-release": "3.22", "bin/sh": elfFile(64, little, own, ""), "lib/ld-musl-test.so.1": "text",
		"glibc": elfFile(64, little, own, "/lib64/ld-linux-x86-64.so.2"), "loader": elfFile(64, little, own, "/lib/ld-musl-test.so.1"),
		"s390": elfFile(64, binary.BigEndian, 22, ""), "arm": elfFile(32, little, 40, ""), "odd": elfFile(64, little, 9999, ""),
		"long": "#!/" + strings.Repeat("x", 300) + "\n", "none": "#!\nx", "spaces": "#! \t/opt/node -x\n", "relative": "#!opt/node\n", "control": "#!/\x1b[31m/red\n",
		"chain1": "#!/chain2\n", "chain2": "#!/chain1\n", "good": "#!/bin/sh\n", "unfinished": "#!/bin/sh", "class": "\xca\xfe\xba\xbe\x00\x00", "zip": "PK\x03\x04",
		"cut": elfFile(64, little, own, "/lib/ld.so")[:70], "noise": "\x00\x01\x02", "bytes": "\x8f\x01\xc3(", "text": "echo \xe9\n", "object": strings.Replace(elfFile(64, little, own, ""), "\x02\x00"+string([]byte{byte(own), byte(own >> 8)}), "\x01\x00"+string([]byte{byte(own), byte(own >> 8)}), 1),
	})
	for name, want := range map[string]string{
		"/glibc":  "/glibc needs the loader /lib64/ld-linux-x86-64.so.2 of glibc (Debian, Ubuntu, Fedora), which the image does not have (it has musl): build it without",
		"/loader": "the loader /lib/ld-musl-test.so.1 is damaged or not executable", "/s390": "/s390 is built for linux/s390x and this machine is linux/" + runtime.GOARCH,
		"/odd": "is built for linux/", "/long": "is longer than the 256 bytes", "/none": "names no interpreter", "/spaces": "the interpreter /opt/node, which",
		"/relative": "the interpreter opt/node, which", "/control": `the interpreter /\x1b[31m/red, which`, "/chain1": "and so on", "/good": "", "/unfinished": "",
		"/class": "a class of Java", "/zip": "a packed archive", "/noise": "no program that Linux knows", "/bytes": "no program that Linux knows", "/text": "/text is a text without a first line", "/object": "is an object file", "/cut": "/cut is a damaged program", "/missing": "",
		"sh -c x": "is taken as the name of one program", "zsh": "the image has no zsh, but it has /bin/sh", "/usr/bin/sh": "the image has no /usr/bin/sh, but it has /bin/sh", "/missing/../good": "", "../../../good": "", "": "",
	} {
		if got := Explain(Subject{Tree: tree, Name: name}); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if runtime.GOARCH == "amd64" {
		if got := Explain(Subject{Tree: tree, Name: "/arm"}); !strings.Contains(got, "linux/arm and") {
			t.Errorf("32 bits: %q", got)
		}
	}
}

// TestOver looks at files and folders of the host that are mounted over the root.
func TestOver(t *testing.T) {
	tree := root(t, map[string]string{"app/run": "#!/bin/sh\n", "outer": ""})
	host := t.TempDir()
	if err := os.Mkdir(filepath.Join(host, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run", "sub/run"} {
		if err := os.WriteFile(filepath.Join(host, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(host, "escape")); err != nil {
		t.Fatal(err)
	}
	tree.Over = map[string]string{"/app": host, "/app/deep": filepath.Join(host, "sub"), "/file": filepath.Join(host, "run"), "/gone": filepath.Join(host, "gone")}
	for _, name := range []string{"/app/run", "/app/deep/run", "/file"} {
		if got := Explain(Subject{Tree: tree, Name: name}); !strings.HasPrefix(got, name+" is not marked as executable") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{"/application", "/gone/x", "/app/none"} {
		if got := Explain(Subject{Tree: tree, Name: name}); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := Explain(Subject{Tree: tree, Name: "/app/escape"}); !strings.Contains(got, "is a symbolic link to /etc/passwd, which leads to nothing") {
		t.Errorf("a link to the host's file: %q", got)
	}
}

// FuzzExplain feeds it files of any content: it must neither panic nor answer at length, nor with control characters.
func FuzzExplain(f *testing.F) {
	for _, seed := range []string{"", "#!", "#!/bin/sh\r\n", "\x7fELF", "MZ", elfFile(64, binary.LittleEndian, 62, "/lib/ld.so"), elfFile(32, binary.BigEndian, 8, "/l"),
		elfFile(64, binary.LittleEndian, machines[runtime.GOARCH], strings.Repeat("/x", 3000))} {
		f.Add([]byte(seed))
	}
	n := 0
	f.Fuzz(func(t *testing.T, content []byte) {
		n++
		tree := root(t, map[string]string{fmt.Sprint("p", n): string(content)})
		got := Explain(Subject{Tree: tree, Name: fmt.Sprint("/p", n)})
		if len(got) > 2000 || strings.ContainsAny(got, "\x00\n\r\x1b") {
			t.Errorf("%q", got)
		}
	})
}
