package security

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// race exchanges two entries of a folder as fast as the kernel can, until stop is called.
func race(dir, a, b string) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		a, b := filepath.Join(dir, a), filepath.Join(dir, b)
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// TestRacingSubpath exchanges a volume's folder for a link to the host while containers mount it by its path in the
// volume (CVE-2024-23651 and its kin).
func TestRacingSubpath(t *testing.T) {
	w := start(t)
	data := w.volume("shared")
	w.check(os.MkdirAll(filepath.Join(data, "sub"), 0o755))
	w.check(os.Symlink(filepath.Dir(w.canary), filepath.Join(data, "evil")))
	w.check(os.WriteFile(filepath.Join(data, "sub", "own"), nil, 0o644))
	stop := race(data, "sub", "evil")
	defer stop()
	mounted := 0
	for since := time.Now(); time.Since(since) < 2*time.Second || mounted == 0 && time.Since(since) < 2*time.Minute; {
		r := w.run("--mount", "type=volume,src=shared,dst=/x,volume-subpath=sub", "busybox", "ls", "/x")
		if strings.Contains(r.Out, "canary") {
			t.Fatalf("a folder of the host was mounted: %s", r.Out)
		}
		if r.Code == 0 {
			mounted++
		}
	}
	if mounted == 0 {
		t.Error("no mount has worked")
	}
	w.intact()
}

// TestVolumesOverTheKernel covers the kernel's folders with what an image or a user brings (CVE-2019-16884,
// CVE-2023-27561): a faked /proc is refused, a real /proc is never covered.
func TestVolumesOverTheKernel(t *testing.T) {
	w := start(t)
	w.volume("fake")
	for name, changes := range map[string][]string{
		"proc": {"VOLUME /proc"}, "below": {"VOLUME /proc/self"}, "dots": {"VOLUME /a/../proc"}, "sys": {"VOLUME /sys/../proc/1"},
		"root": {"VOLUME /"}, "up": {"VOLUME /../.."},
	} {
		w.sub(name, func(w *world) {
			status, text := w.importWith("evil-"+name, changes)
			if status != 200 || strings.Contains(text, `"error"`) {
				return // refused with the image
			}
			if r := w.run("evil-"+name, "sh", "-c", "cat /proc/self/stat"); r.Code == 0 && !strings.Contains(r.Out, "(cat)") {
				w.t.Errorf("%s: /proc is not the kernel's: %s", changes, r.Out)
			}
		})
	}
	w.sub("volume", func(w *world) {
		if r := w.run("-v", "fake:/proc", "busybox", "true"); r.Code == 0 {
			w.t.Error("a volume covers /proc")
		}
		if r := w.run("-v", filepath.Dir(w.canary)+":/proc", "busybox", "true"); r.Code == 0 {
			w.t.Error("a folder of the host covers /proc")
		}
		if r := w.run("-v", "/proc:/proc:ro", "busybox", "cat", "/proc/version"); r.Code != 0 {
			w.t.Errorf("the host's /proc cannot be bound: %s", r.Err)
		}
		if r := w.run("--tmpfs", "/proc", "busybox", "true"); r.Code == 0 {
			w.t.Error("a tmpfs covers /proc")
		}
	})
}

// TestImageLinks gives containers root file systems in which the places of the runtime's mounts are links to the host,
// FIFOs or devices (CVE-2018-15664, CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565, CVE-2026-41579).
func TestImageLinks(t *testing.T) {
	w := start(t)
	host := filepath.Dir(w.canary)
	for _, place := range []string{"proc", "sys", "dev", "sys/fs", "dev/pts", "dev/shm", "dev/mqueue", "dev/console", "dev/null", "proc/kcore",
		"etc/resolv.conf", "etc/hosts", "etc/hostname", "data", "work"} {
		for what, target := range map[string]string{"absolute": w.canary, "folder": host, "dots": "../../../../../../../../.." + host, "loop": "/" + place, "magic": "/proc/self/root"} {
			name := strings.ReplaceAll("link-"+what+"-"+place, "/", "-")
			w.sub(name, func(w *world) {
				entries := []entry{symlink(place, target)}
				if up := filepath.Dir(place); up != "." && up != "etc" {
					entries = append([]entry{dir(up)}, entries...)
				}
				w.image(name, []string{"VOLUME /data", "WORKDIR /work"}, entries...)
				r := w.Do("pier", "run", "--rm", "-t", "--network", "none", "--tmpfs", "/dev/shm", name, "sh", "-c", "echo evil > "+w.canary+"; echo evil > /data/x; echo evil > x; cat /proc/self/comm")
				if r.Code == 0 && !strings.Contains(r.Out, "cat") {
					w.t.Errorf("/proc is not the kernel's: %s%s", r.Out, r.Err)
				}
			})
		}
	}
}

// TestUserFiles lets a container's /etc/passwd and /etc/group be what blocks, never ends or lies elsewhere
// (CVE-2024-9676, CVE-2026-47262, CVE-2026-46680, CVE-2024-40635).
func TestUserFiles(t *testing.T) {
	w := start(t)
	for name, e := range map[string]entry{
		"fifo":    {name: "etc/passwd", kind: tar.TypeFifo, mode: 0o644},
		"huge":    text("etc/passwd", strings.Repeat("x", 11<<20)),
		"host":    symlink("etc/passwd", w.canary),
		"device":  symlink("etc/passwd", "/dev/zero"),
		"folder":  dir("etc/passwd"),
		"wrapped": text("etc/passwd", "app:x:4294967296:4294967296::/:/bin/sh\n"),
		"minus":   text("etc/passwd", "app:x:-1:0::/:/bin/sh\n"),
	} {
		w.sub(name, func(w *world) {
			w.image("users-"+name, nil, e)
			if r := w.run("-u", "app", "users-"+name, "id"); r.Code == 0 || strings.Contains(r.Err, secret) {
				w.t.Errorf("run -u app: %s%s", r.Out, r.Err)
			}
		})
	}
	for name, make := range map[string]string{
		"exec fifo": "/bin/busybox mkfifo /etc/passwd", "exec huge": "dd if=/dev/zero of=/etc/passwd bs=1M count=11", "exec host": "ln -s " + w.canary + " /etc/passwd",
		"exec device": "ln -s /dev/zero /etc/passwd", "exec pipe": "ln -s /proc/1/fd/1 /etc/passwd", "exec kmsg": "ln -s /proc/kmsg /etc/passwd",
		"exec pagemap": "ln -s /proc/1/pagemap /etc/passwd", "exec mem": "ln -s /proc/1/mem /etc/passwd",
	} {
		w.sub(name, func(w *world) {
			w.background("users", "busybox", "sleep", "1000")
			w.pier("exec", "users", "sh", "-c", "rm -f /etc/passwd; "+make)
			w.thrifty(time.Second, func() {
				r := w.Do("timeout", "120", filepath.Join(w.Bin, "pier"), "exec", "-u", "app", "users", "id")
				if r.Code == 0 || r.Code == 124 || strings.Contains(r.Err, secret) {
					w.t.Errorf("exec -u app: %d %s%s", r.Code, r.Out, r.Err)
				}
			})
		})
	}
	w.image("numbers", nil, text("etc/passwd", "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"), text("etc/group", "1000:x:0:\n"))
	for user, want := range map[string]string{"1000": "uid=1000(app) gid=1000 groups=1000", "1000:1000": "uid=1000(app) gid=1000 groups=1000", "2147483648": "", "4294967295": "", "4294967296": "",
		"-1": "", "0x0": "", "+0": "", " 0": "", "0:": "", "1e3": "", "root\n": "", "app:-1": "", "app:0x0": ""} {
		r := w.run("-u", user, "numbers", "id")
		if got := strings.TrimSpace(r.Out); r.Code == 0 && (want == "" || !strings.HasPrefix(strings.ReplaceAll(got, "(1000)", ""), want)) {
			t.Errorf("user %q: %s", user, got)
		}
		if r.Code != 0 && want != "" {
			t.Errorf("user %q: %s", user, r.Err)
		}
	}
}

// importWith is image without a test's failure.
func (w *world) importWith(name string, changes []string) (int, string) {
	query := "/images/create?fromSrc=-&repo=" + name + "&tag=latest"
	for _, c := range changes {
		query += "&changes=" + strings.ReplaceAll(c, " ", "%20")
	}
	return w.request("POST", query, strings.NewReader(string(w.base)))
}

// TestSharedProcRace swaps folders of a volume that holds another container's mount points while it starts
// (CVE-2021-30465, CVE-2019-19921).
func TestSharedProcRace(t *testing.T) {
	w := start(t)
	data := w.volume("shared")
	w.check(os.MkdirAll(filepath.Join(data, "inner"), 0o755))
	w.check(os.Symlink(strings.Repeat("../", 12)+strings.TrimPrefix(filepath.Dir(w.canary), "/"), filepath.Join(data, "evil")))
	stop := race(data, "inner", "evil")
	defer stop()
	for i := range 20 {
		r := w.run("-v", "shared:/shared", "--tmpfs", "/shared/inner", "-v", fmt.Sprintf("v%d:/shared/inner/deep", i), "busybox", "sh", "-c", "touch /shared/inner/x /shared/inner/deep/x")
		if strings.Contains(r.Out+r.Err, secret) {
			t.Fatal(r)
		}
	}
	w.intact()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	w.check(err)
	if strings.Contains(string(mounts), filepath.Dir(w.canary)) {
		t.Error("something was mounted on the host")
	}
}
