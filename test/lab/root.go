package lab

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Busybox writes a tar of a small root file system into dir and returns its path: the machine's static busybox, a link
// for every command the tests use, users root and app (1000).
func Busybox(t testing.TB, dir string) string {
	t.Helper()
	return BusyboxOf(t, dir, "/bin/busybox")
}

// BusyboxOf is Busybox with another machine's busybox.
func BusyboxOf(t testing.TB, dir, busybox string) string {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("these tests need a static busybox (Debian's busybox-static): %v", err)
	}
	path := filepath.Join(dir, "busybox.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "etc", "root", "home", "home/app"} {
		add(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, command := range []string{"sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "wget", "nc", "httpd", "ip", "ping", "stty", "tty", "grep", "mkdir", "rm",
		"touch", "chmod", "hostname", "mount", "umount", "env", "pwd", "kill", "ps", "seq", "dd", "head", "tail", "wc", "md5sum", "sha256sum", "nslookup", "test", "cp", "mv", "ln", "stat", "date", "df", "tr", "printf", "nproc", "yes", "trap", "adduser", "cut"} {
		add(&tar.Header{Name: "bin/" + command, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	add(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"))
	add(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\napp:x:1000:\nextra:x:2000:app\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Debian returns the tar of a whole Debian with systemd, a web server and cron.
func Debian(t testing.TB) string { return kept(t, "debian.tar", "debian/root.sh") }

// Node returns the tar of a root file system with Node.js and yarn.
func Node(t testing.TB) string { return kept(t, "node.tar", "nextjs/node-image.sh") }

// kept returns a file that a script of examples/ makes, once: it stays in the repository's cache folder. The test's own folder
// must be one of those in test/.
func kept(t testing.TB, name, script string) string {
	t.Helper()
	const repository = "../.."
	path, err := filepath.Abs(filepath.Join(repository, ".cache", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(repository, "examples", script), path).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return path
}
