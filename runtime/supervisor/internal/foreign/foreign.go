// Package foreign starts containers by the command line of another OCI runtime (runc, crun), registered with pierd. The
// process it makes is no different from our own: it falls to the supervisor, which is a child subreaper, when the runtime
// has ended, and everything after the start (streams, exec, signals, limits, exit) is the supervisor's own way.
//
//	Start    root attached at bundle/rootfs, config.json -> RUNTIME create, RUNTIME start -> pid
//	Delete   RUNTIME delete --force, root detached
//
// All it keeps is in a folder of the task: bundle/, state/ (the runtime's --root) and log.json.
//
// Start reading at Start.
package foreign

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/mount"
	"pier/kernel/pidfd"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// Container says what to start and by whom.
type Container struct {
	oci.Container
	Runtime shim.Runtime
	// Dir is the task's folder.
	Dir string
}

// maxLog bounds what is read of a runtime's log and pid file.
const maxLog = 64 << 10

// outputLimit is how long what a runtime left behind may hold its standard error once it has ended.
const outputLimit = 5 * time.Second

// searchPath is where runtimes find the programs that they need.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (c *Container) bundle() string { return filepath.Join(c.Dir, "bundle") }

// Start makes and starts the container; Spec is changed. It returns when the program runs. An error is *oci.StartError
// where the runtime refused; what it left is Delete's to remove.
func Start(ctx context.Context, c *Container) (*oci.Process, error) {
	if err := c.adapt(); err != nil {
		return nil, err
	}
	rootfs := filepath.Join(c.bundle(), "rootfs")
	if err := os.MkdirAll(rootfs, 0o700); err != nil {
		return nil, err
	}
	text, err := json.Marshal(c.Spec)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.bundle(), "config.json"), text, 0o600); err != nil {
		return nil, err
	}
	if err := mount.Attach(c.Rootfs, rootfs); err != nil {
		return nil, err
	}
	master, err := c.create(ctx)
	if err != nil {
		return nil, err
	}
	p, err := c.process()
	if err == nil {
		p.Master = master
		if err = c.run(ctx, nil, "start", c.ID); err != nil {
			p.Pidfd.Close()
		}
	}
	if err != nil {
		if master != nil {
			master.Close()
		}
		return nil, err
	}
	return p, nil
}

// adapt words for a runtime of any kind what ours takes in other ways, and refuses what only ours can.
func (c *Container) adapt() error {
	if c.Init != nil {
		return errkind.New(errkind.Unsupported, "an init in the container is not supported with the runtime %s", c.Runtime.Name)
	}
	for i := range c.Spec.Mounts {
		m := &c.Spec.Mounts[i]
		// Another runtime shows systemd's control groups read-only, and takes the option for one of the file system's.
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == shim.DelegateOption })
		for _, o := range m.Options {
			if strings.HasPrefix(o, shim.SubpathOption) {
				return errkind.New(errkind.Unsupported, "a part of a volume (volume-subpath) is not supported with the runtime %s", c.Runtime.Name)
			}
		}
	}
	c.Spec.Version = "1.0.2" // older ones refuse a newer document by its number alone
	c.Spec.Root = &specs.Root{Path: "rootfs", Readonly: c.Spec.Root != nil && c.Spec.Root.Readonly}
	if c.Spec.Process.OOMScoreAdj == nil {
		c.Spec.Process.OOMScoreAdj = new(int) // or it would have the supervisor's
	}
	if c.Netns != nil {
		place := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.Netns.Fd())
		i := slices.IndexFunc(c.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		if i < 0 {
			c.Spec.Linux.Namespaces, i = append(c.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}), len(c.Spec.Linux.Namespaces)
		}
		c.Spec.Linux.Namespaces[i].Path = place
	}
	if c.Spec.Process.Terminal && c.Width > 0 && c.Height > 0 {
		c.Spec.Process.ConsoleSize = &specs.Box{Width: uint(c.Width), Height: uint(c.Height)}
	}
	return nil
}

// create runs RUNTIME create and returns the terminal's master, if there is one.
func (c *Container) create(ctx context.Context) (*os.File, error) {
	args := []string{"create", "--bundle", c.bundle(), "--pid-file", filepath.Join(c.Dir, "pid")}
	if !c.Spec.Process.Terminal {
		return nil, c.run(ctx, &c.Stdio, append(args, c.ID)...)
	}
	dir, err := os.MkdirTemp("", "pier") // the path of a socket is short
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "console"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	type received struct {
		f   *os.File
		err error
	}
	master := make(chan received, 1)
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			master <- received{nil, err}
			return
		}
		defer conn.Close()
		f, err := tty.Receive(conn)
		master <- received{f, err}
	}()
	err = c.run(ctx, nil, append(args, "--console-socket", l.Addr().String(), c.ID)...)
	l.Close()
	got := <-master
	if err == nil {
		err = got.err
	} else if got.f != nil {
		got.f.Close()
	}
	if err != nil {
		return nil, err
	}
	return got.f, nil
}

// process describes the first process, which the runtime has told the number of.
func (c *Container) process() (*oci.Process, error) {
	text, err := readBounded(filepath.Join(c.Dir, "pid"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errkind.New(errkind.Internal, "the runtime %s gave no process: %w", c.Runtime.Name, err)
	}
	f, err := pidfd.Open(pid, 0)
	if err != nil {
		return nil, err
	}
	p := &oci.Process{Pid: pid, Pidfd: f}
	if p.StartTime, err = pidfd.StartTime(pid); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// run runs one command of the runtime. stdio are the container's own streams, which create hands on.
func (c *Container) run(ctx context.Context, stdio *oci.Stdio, args ...string) error {
	log := filepath.Join(c.Dir, "log.json")
	all := slices.Concat(c.Runtime.Args, []string{"--root", filepath.Join(c.Dir, "state"), "--log", log, "--log-format", "json"}, args)
	cmd := exec.CommandContext(ctx, c.Runtime.Path, all...)
	cmd.WaitDelay = outputLimit
	cmd.Env = []string{searchPath} // of ours it needs nothing, and hooks would inherit it
	var said bytes.Buffer
	if stdio != nil {
		// Files, not writers: the container keeps them when the runtime has ended. What is nil is /dev/null.
		if stdio.Stdin != nil {
			cmd.Stdin = stdio.Stdin
		}
		if stdio.Stdout != nil {
			cmd.Stdout = stdio.Stdout
		}
		if stdio.Stderr != nil {
			cmd.Stderr = stdio.Stderr
		}
	} else {
		cmd.Stderr = &said
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	return c.refused(args[0], cmp.Or(lastError(log), strings.TrimSpace(said.String()), err.Error()), err)
}

// refused makes the runtime's words an error like our own runtime's, so that a missing command is told as such.
func (c *Container) refused(verb, text string, err error) error {
	name := ""
	if len(c.Spec.Process.Args) > 0 {
		name = c.Spec.Process.Args[0]
	}
	switch {
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return errkind.New(errkind.Unsupported, "runtime %s: %w: register it with its right path", c.Runtime.Name, err)
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory") && strings.Contains(text, name):
		return oci.NoProgram(name, fs.ErrNotExist)
	case strings.Contains(text, "permission denied") && strings.Contains(text, name):
		return oci.NoProgram(name, fs.ErrPermission)
	}
	return &oci.StartError{Call: verb, Path: c.Runtime.Path, Err: errkind.New(errkind.Internal, "runtime %s: %s: %s", c.Runtime.Name, verb, text)}
}

// lastError is the last message of level error in a runtime's log; "" for none.
func lastError(log string) (last string) {
	text, err := readBounded(log)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Level == "error" {
			last = entry.Msg
		}
	}
	return last
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxLog))
}

// Delete lets the runtime forget the container and detaches its root. It may come more than once.
func Delete(ctx context.Context, id string, r shim.Runtime, dir string) error {
	c := &Container{Container: oci.Container{ID: id, Spec: &specs.Spec{Process: &specs.Process{}}}, Runtime: r, Dir: dir}
	var err error
	if _, known := os.Stat(filepath.Join(dir, "state", id)); known == nil {
		err = c.run(ctx, nil, "delete", "--force", id)
	}
	return errors.Join(err, Detach(dir))
}

// Detach takes away the place at which the runtime saw the root; nothing where it is gone.
func Detach(dir string) error {
	place := filepath.Join(dir, "bundle", "rootfs")
	if on, err := mount.Mounted(place); !on || err != nil {
		return err
	}
	return mount.Unmount(place, true)
}
