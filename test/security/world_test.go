package security

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

var bin string

func TestMain(m *testing.M) { lab.Main(m, &bin) }

type object = map[string]any

// world is a daemon with the image busybox, and a folder of the host that nothing may ever touch.
type world struct {
	*lab.Daemon
	t      *testing.T
	canary string // a file of the host
	base   []byte // the tar of busybox
	client *http.Client
}

const secret = "canary of the host"

func start(t *testing.T, flags ...string) *world {
	t.Helper()
	w := &world{t: t}
	dir := t.TempDir()
	w.canary = filepath.Join(dir, "canary")
	w.check(os.WriteFile(w.canary, []byte(secret), 0o600))
	base, err := os.ReadFile(lab.Busybox(t, dir))
	w.check(err)
	w.base = base
	w.Daemon = lab.Start(t, bin, flags...)
	w.client = w.Client()
	w.image("busybox", nil)
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// sub is the same daemon for a test below.
func (w *world) sub(name string, f func(w *world)) {
	w.t.Run(name, func(t *testing.T) {
		t.Helper()
		one := *w
		one.t = t
		f(&one)
		one.intact()
	})
}

// intact fails unless the canary is as it was.
func (w *world) intact() {
	w.t.Helper()
	if b, err := os.ReadFile(w.canary); err != nil || string(b) != secret {
		w.t.Errorf("the host's file was touched: %q, %v", b, err)
	}
	entries, _ := os.ReadDir(filepath.Dir(w.canary))
	if len(entries) != 2 { // with the tar
		w.t.Errorf("the host's folder was touched: %v", entries)
	}
}

// thrifty fails if f makes pierd, its supervisor and those children of theirs that have ended take more than limit of
// processor time. Unlike that on a wall, its clock does not run while others have the processor.
func (w *world) thrifty(limit time.Duration, f func()) {
	w.t.Helper()
	used := func() (sum time.Duration) {
		for _, pid := range []int{w.Pid(), w.Supervisor()} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			w.check(err)
			_, figures, _ := bytes.Cut(text, []byte(") "))
			const utime, cstime, hertz = 14 - 3, 17 - 3, 100 // proc(5) counts from 1 and the state is its third
			for _, ticks := range strings.Fields(string(figures))[utime : cstime+1] {
				n, err := strconv.Atoi(ticks)
				w.check(err)
				sum += time.Duration(n) * time.Second / hertz
			}
		}
		return sum
	}
	before := used()
	f()
	if took := used() - before; took > limit {
		w.t.Errorf("it took %v of processor time, more than %v", took, limit)
	}
}

// request sends body (JSON unless it is a reader or nil) and returns status and answer, read up to 1 MiB.
func (w *world) request(method, path string, body any) (int, string) {
	w.t.Helper()
	status, text, err := w.try(method, path, body)
	w.check(err)
	return status, text
}

func (w *world) try(method, path string, body any) (int, string, error) {
	var reader io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		reader, kind = b, "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return 0, "", err
		}
		reader = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://pierd"+path, reader)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", kind)
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, string(text), err
}

// entry is a file of a hostile archive.
type entry struct {
	name, link, body string
	kind             byte // of tar; 0: a regular file
	mode             int64
	records          map[string]string
}

func dir(name string) entry           { return entry{name: name + "/", kind: tar.TypeDir, mode: 0o755} }
func symlink(name, link string) entry { return entry{name: name, link: link, kind: tar.TypeSymlink} }
func program(name, body string) entry { return entry{name: name, body: body, mode: 0o755} }
func text(name, body string) entry    { return entry{name: name, body: body, mode: 0o644} }

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		kind := e.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: kind, Mode: e.mode, Size: int64(len(e.body)), PAXRecords: e.records}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// image imports busybox with further entries and Dockerfile instructions.
func (w *world) image(name string, changes []string, entries ...entry) {
	w.t.Helper()
	query := url.Values{"fromSrc": {"-"}, "repo": {name}, "tag": {"latest"}, "changes": changes}
	base := bytes.TrimRight(w.base, "\x00")
	base = base[: (len(base)+511)/512*512 : (len(base)+511)/512*512]
	pad := w.base[:len(base)]
	status, text := w.request("POST", "/images/create?"+query.Encode(), io.MultiReader(bytes.NewReader(pad), bytes.NewReader(archive(w.t, entries...))))
	if status != 200 || strings.Contains(text, `"error"`) {
		w.t.Fatalf("import %s: %d %s", name, status, text)
	}
}

// run is `pier run --rm` with arguments.
func (w *world) run(args ...string) lab.Result {
	w.t.Helper()
	if !slices.Contains(args, "--network") {
		args = append([]string{"--network", "none"}, args...)
	}
	return w.Do("pier", append([]string{"run", "--rm"}, args...)...)
}

// output fails unless the command in a container succeeds, and returns what it wrote.
func (w *world) output(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.Code != 0 {
		w.t.Fatalf("run %q: exit code %d\n%s%s", args, r.Code, r.Out, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// background starts a container and returns the number of its first process.
func (w *world) background(name string, args ...string) int {
	w.t.Helper()
	w.pier(append([]string{"run", "-d", "--name", name, "--network", "none"}, args...)...)
	w.t.Cleanup(func() { w.Do("pier", "rm", "-f", name) })
	return w.pid(name)
}

// pier fails the test of w, not that of the daemon, unless the command succeeds.
func (w *world) pier(args ...string) string {
	w.t.Helper()
	r := w.Do("pier", args...)
	if r.Code != 0 {
		w.t.Fatalf("pier %q: exit code %d\n%s%s", args, r.Code, r.Out, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// pid is the first process of a container.
func (w *world) pid(name string) (pid int) {
	w.t.Helper()
	_, err := fmt.Sscan(w.pier("inspect", "-f", "{{.State.Pid}}", name), &pid)
	w.check(err)
	return pid
}

// volume makes a volume and returns where its content lies.
func (w *world) volume(name string) string {
	w.t.Helper()
	if status, text := w.request("POST", "/volumes/create", object{"Name": name}); status != 201 {
		w.t.Fatalf("create volume: %d %s", status, text)
	}
	return filepath.Join(w.Dir, "data", "volumes", name, "_data")
}
