package helper

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
)

func TestStart(t *testing.T) {
	group, err := cgroup.Create("/pier-test-helper-"+strconv.Itoa(os.Getpid()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := group.Delete(); err != nil {
			t.Error(err)
		}
	}()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	script := `cat /proc/self/cgroup; grep NoNewPrivs /proc/self/status; echo "$A $(ls /proc/$$/fd | tr '\n' ' ')"; echo last >&4; cat /proc/keys; exit 7`
	child, err := Start(&Program{Path: "/bin/busybox", Args: []string{"sh", "-c", script}, Env: []string{"A=b", "PATH=/bin:/usr/bin"}, Files: []*os.File{nil, in, in, nil, in},
		Cgroup: group, OwnCgroups: true, Keyring: "_ses.helper", NoNewPrivileges: true})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Pidfd.Close()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := pidfd.Take(t.Context(), child.Pidfd); err != nil || status.Code != 7 {
		t.Errorf("its end: %+v, %v", status, err)
	}
	for line := range strings.Lines(string(text)) {
		if i := strings.LastIndexByte(line, ':'); strings.Count(line, ":") == 2 && !strings.Contains(line, " ") && line[i:] != ":/\n" && !strings.HasPrefix(line, "0::") { // a hybrid machine's v2 is not joined
			t.Errorf("its cgroup is not the root of its namespace: %s", line)
		}
	}
	for _, want := range []string{"NoNewPrivs:\t1\n", "b 0 1 2 3 4 ", "last\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	if _, err := Start(&Program{Path: "/missing", Args: []string{"x"}}); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is missing: %v", err)
	}
}
