package criu

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
	"pier/runtime/oci"
)

// What criu says is read as it was written, and nothing that it could say does any harm.
func TestAnswer(t *testing.T) {
	var notify, restore, version, m message
	notify.text(1, "post-restore")
	notify.number(2, 77)
	restore.number(1, 1234)
	version.number(1, 3)
	version.number(2, 17)
	version.number(4, 1)
	m.number(1, kindNotify)
	m.flag(2, true)
	m.bytes(4, restore)
	m.bytes(5, notify)
	m.number(7, 22)
	m.text(9, "words")
	m.bytes(10, version)
	m = append(binary.AppendUvarint(m, 31<<3|kindFixed32), 1, 2, 3, 4) // a field of a later release
	a, err := parseAnswer(m)
	want := answer{kind: kindNotify, success: true, errno: 22, message: "words", pid: 1234, script: "post-restore", scripts: 77, version: 31701}
	if err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := bytes.Clone(m)
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		_, _ = parseAnswer(b[:r.IntN(len(b)+1)])
	}
	for _, bad := range []string{"\x0a", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x0b", "\x09\x01", "\x80"} {
		if _, err := fields([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The arguments of a request are those of criu's images/rpc.proto.
func TestOptions(t *testing.T) {
	o := &options{images: 5, work: 6, pid: 7, log: "l", inherit: []inherited{{"pipe:[1]", 4}}, external: []string{"mnt[/a]:/a"}, tcpClose: true}
	all, err := fields(o.encode())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]field{}
	for _, f := range all {
		seen[f.number] = f
	}
	if seen[1].value != 5 || seen[17].value != 6 || seen[2].value != 7 || string(seen[10].bytes) != "l" || seen[52].value != 1 || string(seen[37].bytes) != "mnt[/a]:/a" {
		t.Errorf("%+v", all)
	}
	if _, there := seen[3]; there || seen[34].value != manageNone {
		t.Errorf("%+v", all)
	}
	if inner, err := fields(seen[27].bytes); err != nil || string(inner[0].bytes) != "pipe:[1]" || inner[1].value != 4 {
		t.Errorf("%+v, %v", inner, err)
	}
}

// What the host has mounted too is outside, and so are control groups, and what of a file system the container has a part of alone.
func TestOuter(t *testing.T) {
	parse := func(text string) []*mountinfo.Info {
		t.Helper()
		all, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	host := parse("1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /dev rw - devtmpfs dev rw\n3 1 0:20 / /sys rw - sysfs sysfs rw\n4 1 0:30 / /run rw - tmpfs run rw\n")
	all := parse(`10 9 8:1 /roots/a / rw - ext4 /dev/sda rw
11 10 0:40 / /proc rw - proc proc rw
12 10 0:41 / /dev rw - tmpfs dev rw
13 12 0:42 / /dev/pts rw - devpts devpts rw
14 10 0:20 / /sys ro - sysfs sysfs rw
15 14 0:50 / /sys/fs/cgroup ro - cgroup2 cgroup rw
16 11 0:5 /null /proc/keys rw - devtmpfs dev rw
17 11 0:40 /sys /proc/sys ro - proc proc rw
18 10 8:1 /data /data\040of\040mine rw - ext4 /dev/sda rw
19 10 0:30 /secrets /run/secrets ro - tmpfs run rw
20 12 0:60 /3 /dev/extra rw - tmpfs nodes rw
21 12 0:42 /0 /dev/console rw - devpts devpts rw
`)
	points, err := outer(all, host)
	want := []string{"/sys/fs/cgroup", "/proc/keys", "/data of mine", "/run/secrets", "/dev/extra"}
	if err != nil || !reflect.DeepEqual(points, want) {
		t.Errorf("%q, %v", points, err)
	}
}

// A folder is no checkpoint by what somebody has put there.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	images, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	name := filepath.Join(dir, manifestName)
	for what, text := range map[string]string{
		"no JSON": "{", "another version": `{"version":99}`, "a way out": `{"version":1,"mounts":["/a/../../b"]}`, "a relative path": `{"version":1,"mounts":["a"]}`,
		"the root": `{"version":1,"mounts":["/"]}`, "too long": `{"version":1,"mounts":["` + strings.Repeat("/a", maxManifest) + `"]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := openFolder(images).read(); err == nil {
			t.Errorf("%s: %+v", what, m)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := openFolder(images).read(); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("nothing there: %v", err)
	}
	want := &manifest{Version: manifestVersion, Terminal: true, Network: true, Streams: [3]string{"", "pipe:[1]", "file[1:2]"}, Mounts: []string{"/a"}}
	if err := openFolder(images).write(want); err != nil {
		t.Fatal(err)
	}
	if m, err := openFolder(images).read(); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := os.Symlink("../elsewhere", filepath.Join(dir, parentLink)); err != nil {
		t.Fatal(err)
	}
	if plain(images, false) == nil || plain(images, true) != nil {
		t.Error("the link to the dump before")
	}
	if err := os.Rename(filepath.Join(dir, parentLink), filepath.Join(dir, "pages-1.img")); err != nil {
		t.Fatal(err)
	}
	if plain(images, true) == nil {
		t.Error("a link in the place of an image")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", name); err != nil {
		t.Fatal(err)
	}
	if m, err := openFolder(images).read(); err == nil {
		t.Errorf("read through a link: %+v", m)
	}
}

// The last words of a log are those that tell something.
func TestLastErrors(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	text := strings.Repeat("(00.000001) nothing of note\n", 20000) + `(00.000002)      1: Error (criu/first.c:1): one
(00.000003) Error (criu/second.c:2): two
(00.000004) Warn  (criu/other.c:2): not this
(00.000005) Error (criu/third.c:3): three: of more
(00.000006) Error (criu/fourth.c:4): four
(00.000007) Error (criu/cr-dump.c:2098): Dumping FAILED.
`
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if lines := lastErrors(log); !reflect.DeepEqual(lines, []string{"two", "three: of more", "four"}) {
		t.Errorf("%q", lines)
	}
	err := explain(context.Background(), "/bin/true", "dump", log, &failure{})
	if !errkind.Is(err, errkind.Internal) || !strings.Contains(err.Error(), "two; three: of more; four") || !strings.Contains(err.Error(), log) {
		t.Errorf("%v", err)
	}
	err = explain(context.Background(), "/bin/false", "dump", log, &failure{}) // which fails its check
	if !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("%v", err)
	}
}

// What is not criu, or none of its age, is refused by what is needed.
func TestUsable(t *testing.T) {
	if _, err := Find("/missing/criu"); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), "3.17") {
		t.Errorf("%v", err)
	}
	if _, _, err := usable(context.Background(), "/bin/true"); err == nil {
		t.Error("true is taken for criu")
	}
	if s := versionText(31701) + " " + versionText(40200); s != "3.17.1 4.2" {
		t.Error(s)
	}
}

// What is in a user namespace that no container that is restored can have is refused: all it may in there is out of sight.
func TestUserNamespace(t *testing.T) {
	r := &Restore{Container: oci.Container{Spec: &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}}}
	for _, c := range []struct {
		flags uintptr
		want  bool
	}{{0, false}, {syscall.CLONE_NEWUSER, true}} {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: c.flags}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		err := r.verifyProcess(process(cmd.Process.Pid), ^uint64(0))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if refused := errkind.Is(err, errkind.Forbidden); refused != c.want || !refused && err != nil {
			t.Errorf("namespaces %#x: %v", c.flags, err)
		}
	}
}

// A look at the machine by a criu that never ends, or says more than anybody wants to know, hides no cause.
func TestCheckIsNoCause(t *testing.T) {
	program := filepath.Join(t.TempDir(), "criu")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho 'Error (x.c:1): old kernel'; head -c 1000000 /dev/zero; exit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := explain(context.Background(), program, "checkpoint of c", "/nowhere", &failure{said: "the disk is full"})
	if !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "old kernel") || len(err.Error()) > 1000 {
		t.Errorf("explained as %.1000v", err)
	}
}

// A number alone is no process.
func TestDumpOfAnother(t *testing.T) {
	d := &Dump{ID: "c", Pid: os.Getpid(), StartTime: 1}
	if err := d.Do(context.Background()); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("dump of whoever has the number: %v", err)
	}
}
