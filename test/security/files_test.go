package security

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRacingCopy copies out of, into and lists a container while a folder of it is exchanged for a link that would lead
// to the host (CVE-2018-15664, CVE-2026-41568).
func TestRacingCopy(t *testing.T) {
	w := start(t)
	data := w.volume("raced")
	host := filepath.Dir(w.canary)
	w.check(os.MkdirAll(filepath.Join(data, "sub"), 0o755))
	w.check(os.WriteFile(filepath.Join(data, "sub", "canary"), []byte("own"), 0o644))
	w.check(os.Symlink(host, filepath.Join(data, "evil")))
	w.background("victim", "-v", "raced:/v", "busybox", "sleep", "600")
	w.pier("create", "--name", "still", "-v", "raced:/v", "busybox", "true")
	stop := race(data, "sub", "evil")
	defer stop()
	put := archive(t, text("canary", "evil"), text("sub/canary", "evil"))
	for _, name := range []string{"victim", "still"} {
		worked := 0
		for since := time.Now(); time.Since(since) < 1500*time.Millisecond || worked == 0 && time.Since(since) < 2*time.Minute; {
			for _, path := range []string{"/v/sub", "/v/sub/", "/v/sub/canary", "/v", "/v/s*&glob=1", "/v/[s]ub/*&glob=1", "/v/*/canary&glob=1&followLinks=1"} {
				status, body := w.request("GET", "/containers/"+name+"/archive?path="+path, nil)
				if strings.Contains(body, secret) {
					t.Fatalf("GET %s of %s gave a file of the host", path, name)
				}
				if status == 200 {
					worked++
				}
				w.refusedOr(status, body)
			}
			status, body := w.request("PUT", "/containers/"+name+"/archive?path=/v/sub&chown=7:7&chmod=4777", bytes.NewReader(put))
			w.refusedOr(status, body)
			status, body = w.request("PUT", "/containers/"+name+"/archive?path=/v", bytes.NewReader(put))
			w.refusedOr(status, body)
		}
		if worked == 0 {
			t.Errorf("nothing of %s could be copied", name)
		}
	}
	w.intact()
	if fi, err := os.Stat(w.canary); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the host's file has the mode %v, %v", fi.Mode(), err)
	}
}

// TestHostilePatterns expands patterns in containers made for it, and looks names up in files that are none.
func TestHostilePatterns(t *testing.T) {
	w := start(t)
	host := filepath.Dir(w.canary)
	entries := []entry{symlink("host", host), symlink("up", strings.Repeat("../", 12)), symlink("etc/passwd", w.canary), {name: "etc/group", kind: tar.TypeFifo, mode: 0o666},
		dir("maze"), dir("odd"), text("odd/new\nline", ""), text("odd/*", ""), text("odd/[", "")}
	for i := range 12 {
		entries = append(entries, symlink(fmt.Sprintf("maze/%d", i), "."))
	}
	w.image("tricky", nil, entries...)
	w.background("victim", "-v", "data:/data", "tricky", "sleep", "600")
	w.pier("create", "--name", "still", "tricky", "true")
	get := func(name, pattern, more string) (int, string) {
		return w.request("GET", "/containers/"+name+"/archive?glob=1&path="+url.QueryEscape(pattern)+more, nil)
	}
	for _, name := range []string{"victim", "still"} {
		for _, pattern := range []string{"/host/*", "/hos?/canary", "/up" + host + "/c*", "/up/up/up/*/passwd", "/*" + host + "/*", "/proc/*/root" + w.canary + "*",
			"/proc/self/root/*", "/proc/1/cwd/../*", strings.Repeat("../", 12) + host[1:] + "/*", "/etc/passw*"} {
			for _, more := range []string{"", "&followLinks=1"} {
				status, body := get(name, pattern, more)
				if w.refusedOr(status, body); strings.Contains(body, secret) {
					t.Errorf("%s in %s = %d with a file of the host", pattern, name, status)
				}
			}
		}
		if status, body := get(name, "/maze"+strings.Repeat("/*", 40), ""); status != 400 || !strings.Contains(body, "more than") {
			t.Errorf("a maze = %d %.200s", status, body)
		}
		for pattern, want := range map[string]int{"/odd/*": 200, "/odd/[": 200, "/odd/[[]": 200, "/odd/[x": 400, "/odd/[!]": 400, "/odd/[[:x:]]*": 400, "/odd/[![:cntrl:]]": 200, "/odd/[]]": 404, "/" + strings.Repeat("[[:alnum:]-", 300): 400, "/odd/\\": 400, "/odd/x*": 404, "/" + strings.Repeat("?*", 3000): 400} {
			if status, body := get(name, pattern, ""); status != want {
				t.Errorf("%.20s = %d %.200s, want %d", pattern, status, body, want)
			}
		}
		for _, who := range []string{"root", "nobody", "0:wheel", "2147483648", "4294967295", "-1", "1:2:3", ":", "a\nb"} {
			status, body := w.request("PUT", "/containers/"+name+"/archive?path=/tmp&chown="+url.QueryEscape(who), bytes.NewReader(archive(t, text("f", "x"))))
			if status != 400 || strings.Contains(body, secret) {
				t.Errorf("an owner %q = %d %s", who, status, body)
			}
		}
		for _, mode := range []string{"77777", "-1", "0x1ff", "rwx", "u=q", strings.Repeat("u+x,", 9000) + "q"} {
			status, body := w.request("PUT", "/containers/"+name+"/archive?path=/tmp&chmod="+url.QueryEscape(mode), bytes.NewReader(archive(t, text("f", "x"))))
			if status != 400 {
				t.Errorf("a mode %.20q = %d %.200s", mode, status, body)
			}
		}
	}
	w.intact()
}

// TestHostileCopy puts hostile archives into a running and a stopped container (CVE-2026-17106), and asks for paths that
// climb out.
func TestHostileCopy(t *testing.T) {
	w := start(t)
	host := filepath.Dir(w.canary)
	w.background("victim", "busybox", "sleep", "600")
	w.pier("create", "--name", "still", "busybox", "true")
	up := strings.Repeat("../", 12)
	before := len(w.files())
	for _, name := range []string{"victim", "still"} {
		for kind, entries := range w.hostile() {
			w.sub(name+" "+kind, func(w *world) {
				for _, dir := range []string{"/", "/tmp", "/tmp/" + up} {
					w.refusedOr(w.request("PUT", "/containers/"+name+"/archive?path="+url.QueryEscape(dir), bytes.NewReader(archive(w.t, entries...))))
				}
				_, body := w.request("GET", "/containers/"+name+"/archive?path=/tmp", nil)
				if strings.Contains(body, secret) {
					w.t.Error("a file of the host came out")
				}
			})
		}
		// The archive's own programs must not be run to unpack it (CVE-2026-41567).
		w.refusedOr(w.request("PUT", "/containers/"+name+"/archive?path=/", bytes.NewReader(archive(t, program("usr/bin/xz", "#!/bin/sh\n"), program("usr/bin/unpigz", "#!/bin/sh\n")))))
		w.refusedOr(w.request("PUT", "/containers/"+name+"/archive?path=/tmp", bytes.NewReader(squeeze(t, archive(t, text("ok", "ok"))))))
		for _, path := range []string{up + host[1:] + "/canary", host, w.canary, "/proc/1/root" + w.canary, "/proc/self/root" + w.canary} {
			status, body := w.request("GET", "/containers/"+name+"/archive?path="+url.QueryEscape(path), nil)
			if strings.Contains(body, secret) {
				t.Errorf("GET %s = %d with a file of the host", path, status)
			}
		}
		if status, body := w.request("GET", "/containers/"+name+"/export", nil); status != 200 || strings.Contains(body, secret) {
			t.Errorf("export = %d", status)
		}
	}
	w.refusedOr(w.request("PUT", "/containers/victim/archive?path=/tmp", bytes.NewReader(archive(t, entry{name: "dev", kind: tar.TypeBlock, mode: 0o666}))))
	w.refusedOr(w.request("POST", "/commit?container=victim&repo=evil-commit", nil))
	w.run("evil-commit", "true")
	w.Eventually("descriptors as before", func() error {
		if after := len(w.files()); after > before+12 {
			return fmt.Errorf("pierd had %d descriptors and has %d", before, after)
		}
		return nil
	})
	w.intact()
}
