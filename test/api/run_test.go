package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"

	"pier/client"
)

// TestRuns makes, joins and starts processes for one request each (docker.RunParameter), as pier does.
func TestRuns(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	c, err := client.New(client.Endpoint{Host: p.Host()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	both := client.AttachOptions{Stdout: true, Stderr: true}
	ask := func(remove bool, cmd ...string) container.CreateRequest {
		return container.CreateRequest{Config: &container.Config{Image: "busybox", Cmd: cmd},
			HostConfig: &container.HostConfig{NetworkMode: "none", AutoRemove: remove}}
	}
	run := func(t *testing.T, r container.CreateRequest, o client.AttachOptions, input io.Reader) (stdout, stderr string, code int, err error) {
		t.Helper()
		run, err := c.Containers().Run(ctx, "", "", r, o)
		if err != nil {
			return "", "", 0, err
		}
		if run.Conn == nil {
			t.Fatal("the daemon only made the container")
		}
		defer run.Conn.Close()
		if input != nil {
			go func() {
				_, _ = io.Copy(run.Conn, input)
				_ = run.Conn.CloseWrite()
			}()
		}
		var out, errOut bytes.Buffer
		if r.Tty {
			_, err = io.Copy(&out, run.Conn)
		} else {
			_, err = stdcopy.StdCopy(&out, &errOut, run.Conn)
		}
		if err != nil {
			t.Fatal(err)
		}
		code, err = run.Outcome()
		return out.String(), errOut.String(), code, err
	}
	left := func() int {
		var all []object
		p.want(200, "GET", "/containers/json?all=1", nil, &all)
		return len(all)
	}

	t.Run("output and exit code", func(t *testing.T) {
		out, errOut, code, err := run(t, ask(true, "sh", "-c", "echo out; echo err >&2; exit 7"), both, nil)
		if out != "out\n" || errOut != "err\n" || code != 7 || err != nil {
			t.Errorf("got %q, %q, %d, %v", out, errOut, code, err)
		}
		if n := left(); n != 0 {
			t.Errorf("%d containers are there after a run that removes its own", n)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		r := ask(true, "sh", "-c", "tty; echo two")
		r.Tty = true
		if out, _, code, err := run(t, r, both, nil); out != "/dev/pts/0\r\ntwo\r\n" || code != 0 || err != nil {
			t.Errorf("got %q, %d, %v", out, code, err)
		}
	})
	t.Run("input", func(t *testing.T) {
		r := ask(true, "cat")
		r.OpenStdin, r.StdinOnce = true, true
		want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
		out, _, code, err := run(t, r, client.AttachOptions{Stdin: true, Stdout: true}, bytes.NewReader(want))
		if out != string(want) || code != 0 || err != nil {
			t.Errorf("%d bytes of %d came back, %d, %v", len(out), len(want), code, err)
		}
	})
	t.Run("input that nobody reads", func(t *testing.T) {
		for i := range 40 {
			r := ask(true, "sh", "-c", "exit 3")
			r.OpenStdin, r.StdinOnce, r.Tty = true, true, i%2 == 0
			o := client.AttachOptions{Stdin: true, Stdout: true}
			if _, _, code, err := run(t, r, o, bytes.NewReader(bytes.Repeat([]byte("typed\n"), 5000*(i%4)))); code != 3 || err != nil {
				t.Fatalf("run %d: %d, %v", i, code, err)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		var answer *client.Error
		r := ask(true, "true")
		r.Image = "nosuch"
		if _, _, _, err := run(t, r, both, nil); !errors.As(err, &answer) || answer.Status != 404 {
			t.Errorf("no such image: %v", err)
		}
		if _, _, _, err := run(t, ask(true, "/nosuch"), both, nil); !errors.As(err, &answer) || answer.Status != 400 && answer.Status != 404 {
			t.Errorf("no such command: %v", err)
		}
		if n := left(); n != 0 {
			t.Errorf("%d containers are there after runs that failed", n)
		}
	})
	t.Run("kept", func(t *testing.T) {
		if _, _, code, err := run(t, ask(false, "false"), both, nil); code != 1 || err != nil {
			t.Errorf("got %d, %v", code, err)
		}
		if n := left(); n != 1 {
			t.Errorf("%d containers are there, not 1", n)
		}
		p.want(200, "POST", "/containers/prune", nil, nil)
	})
	t.Run("exec", func(t *testing.T) {
		p.create("steady", sleeper())
		p.want(204, "POST", "/containers/steady/start", nil, nil)
		exec := func(cmd ...string) (out string, code int, err error) {
			run, err := c.Execs().Run(ctx, "steady", container.ExecCreateRequest{Cmd: cmd, AttachStdout: true, AttachStderr: true})
			if err != nil {
				return "", 0, err
			}
			defer run.Conn.Close()
			var buf bytes.Buffer
			if _, err := stdcopy.StdCopy(&buf, &buf, run.Conn); err != nil {
				return "", 0, err
			}
			code, err = run.Outcome()
			return buf.String(), code, err
		}
		if out, code, err := exec("sh", "-c", "echo in; exit 3"); out != "in\n" || code != 3 || err != nil {
			t.Errorf("got %q, %d, %v", out, code, err)
		}
		if out, code, err := exec("/nosuch"); code != 127 || err != nil || out == "" {
			t.Errorf("no such command: %q, %d, %v", out, code, err)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		run, err := c.Containers().Run(ctx, "lonely", "", ask(false, "sleep", "600"), both)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		_ = run.Conn.Close()
		time.Sleep(time.Second) // longer than it takes to notice
		var state struct{ State struct{ Running bool } }
		p.want(200, "GET", "/containers/lonely/json", nil, &state)
		if !state.State.Running {
			t.Error("the container ended with its client")
		}
		p.want(204, "DELETE", "/containers/lonely?force=1", nil, nil)
	})
}
