package criu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"pier/kernel/cgroup"
	"pier/kernel/fdsock"
	"pier/kernel/helper"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
)

// oldest is the first release of CRIU that is tried, as its major, minor and sub number with two digits each.
const oldest = 31700

// socketFD is the descriptor by which criu gets its request, the first after the standard streams.
const socketFD = 3

// maxAnswer bounds one message of criu's in bytes: it holds no more than a name, a number and a line of text.
const maxAnswer = 64 << 10

// sayLimit bounds what is kept of criu's own standard error, which it uses until its log is open.
const sayLimit = 16 << 10

// work is one run of "criu swrk": criu does one thing for us, asked and answered on a socket, as a child of ours.
type work struct {
	program string
	kind    int
	options *options // nil for a question
	// features asks a question of kindFeature.
	features []byte
	// files are criu's descriptors after the socket.
	files []*os.File
	// in, where not nil, is the cgroup that criu works in, with its cgroup namespace if own is set, keyring the name of its
	// session keyring, and bound is set where it may not get new rights. What it restores has all that from it; before 4.0, criu
	// has nothing of the last.
	in         *cgroup.Cgroup
	own, bound bool
	keyring    string
	// notice is told what criu is about to do, or has done; it waits meanwhile. An error ends the work. Files are the notice's.
	notice func(a *answer, files []*os.File) error
	// pid is criu's, while it works.
	pid int
}

// Find returns the path of criu: the program itself, or what is found by its name. An error of kind Unsupported says what to
// install.
func Find(program string) (string, error) {
	if program == "" {
		program = "criu"
	}
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin"} { // where it is, and the PATH of a service may not lead
		if err != nil && !strings.Contains(program, "/") {
			path, err = exec.LookPath(dir + "/" + program)
		}
	}
	if err != nil {
		return "", errkind.New(errkind.Unsupported, "checkpoint and restore need the program criu (version %s or newer), which was not found: install it (Debian: apt install criu): %w",
			versionText(oldest), err)
	}
	return path, nil
}

func versionText(v int) string {
	s := fmt.Sprintf("%d.%d", v/10000, v/100%100)
	if v%100 != 0 {
		s += fmt.Sprintf(".%d", v%100)
	}
	return s
}

// searchPath is where criu finds the programs that it uses (tar, nft).
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// failure is a "no" of criu's, or its early end.
type failure struct {
	answer answer // of criu, as far as there was one
	said   string // on its standard error
	err    error
}

func (f *failure) Error() string {
	switch {
	case f.answer.message != "":
		return f.answer.message
	case f.said != "":
		return f.said
	case f.err != nil:
		return f.err.Error()
	}
	return fmt.Sprintf("it failed with error %d", f.answer.errno)
}

func (f *failure) Unwrap() error { return f.err }

// do runs w. An error is *failure, unless criu could not be started. Ending ctx ends criu at once; that is for no dump of
// processes that are to live on: criu lets them go in order when its socket is closed, and not when it is killed.
func (w *work) do(ctx context.Context) (*answer, error) {
	ours, theirs, err := fdsock.Packets()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	said, err := pipe.NewCapture(sayLimit)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	r := said.Reader()
	child, err := helper.Start(&helper.Program{
		Path: w.program, Args: []string{"criu", "swrk", fmt.Sprint(socketFD)}, Env: []string{searchPath},
		Files:  append([]*os.File{nil, said.In, said.In, theirs}, w.files...),
		Cgroup: w.in, OwnCgroups: w.own, Keyring: w.keyring, NoNewPrivileges: w.bound,
	})
	said.In.Close()
	theirs.Close()
	if err != nil {
		r.Close()
		return nil, errkind.New(errkind.Internal, "start %s: %w", w.program, err)
	}
	defer child.Pidfd.Close()
	w.pid = child.Pid
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		_, _ = io.Copy(said, r)
	}()
	const sigkill = 9
	stop := context.AfterFunc(ctx, func() { _ = pidfd.Signal(child.Pidfd, sigkill) })
	a, err := w.converse(ours)
	ours.Close()
	_ = pidfd.Wait(context.WithoutCancel(ctx), child.Pidfd)
	_, _ = pidfd.Reap(child.Pidfd) // somebody who reaps all that nobody knows may have done so
	stop()
	<-read
	if err == nil && a.success {
		return a, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	f := &failure{said: lastLine(string(said.Text())), err: err}
	if a != nil {
		f.answer = *a
	}
	return nil, f
}

// converse asks, and answers criu's notices until it has answered.
func (w *work) converse(conn *net.UnixConn) (*answer, error) {
	var request message
	request.number(1, int64(w.kind))
	if w.options != nil {
		request.bytes(2, w.options.encode())
	}
	if w.features != nil {
		request.bytes(5, w.features)
	}
	if _, err := conn.Write(request); err != nil {
		return nil, fmt.Errorf("ask criu: %w", err)
	}
	buf := make([]byte, maxAnswer)
	for {
		n, files, err := fdsock.ReceivePacket(conn, buf)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return nil, errkind.New(errkind.Internal, "criu ended without an answer")
		}
		if err != nil {
			return nil, fmt.Errorf("hear criu: %w", err)
		}
		a, err := parseAnswer(buf[:n])
		if err == nil && a.success && a.kind == kindNotify {
			if w.notice != nil {
				err = w.notice(&a, files)
			}
			var reply message
			reply.number(1, kindNotify)
			reply.flag(3, err == nil)
			if _, writeErr := conn.Write(reply); err == nil && writeErr != nil {
				err = fmt.Errorf("answer criu: %w", writeErr)
			}
			if err == nil {
				closeAll(files)
				continue
			}
		}
		closeAll(files)
		return &a, err
	}
}

// closeAll closes what is there; nil was taken.
func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// usable returns the path of a criu that is new enough.
func usable(ctx context.Context, program string) (path string, version int, err error) {
	path, err = Find(program)
	if err != nil {
		return "", 0, err
	}
	a, err := (&work{program: path, kind: kindVersion}).do(ctx)
	if err != nil {
		return "", 0, unfit(ctx, path, err)
	}
	if a.version < oldest {
		return "", 0, errkind.New(errkind.Unsupported, "checkpoint and restore need criu %s or newer: %s is %s", versionText(oldest), path, versionText(a.version))
	}
	return path, a.version, nil
}

// unfit turns the failure of a criu that does not work on this machine, as its own check shows, into an error that says so as
// well. Any other error is returned as it is.
func unfit(ctx context.Context, path string, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	found := check(ctx, path)
	if found == "" {
		return err
	}
	return errkind.New(errkind.Unsupported, "%w (%s)", err, found)
}

const (
	// checkLimit is how long criu may look at the machine, and checkPatience how long who has its output may live on then.
	checkLimit    = 30 * time.Second
	checkPatience = time.Second
)

// check has criu look at the machine. It returns what is wrong with that, "" if that is nothing or cannot be told.
func check(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	var said beginning
	cmd := exec.CommandContext(ctx, path, "check")
	cmd.Env, cmd.WaitDelay = []string{searchPath}, checkPatience
	cmd.Stdout, cmd.Stderr = &said, &said
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || ctx.Err() != nil {
		return ""
	}
	why := lastLine(string(said))
	for line := range strings.Lines(string(said)) {
		if strings.HasPrefix(line, "Error") {
			why = strings.TrimSpace(line) // the first is the cause
			break
		}
	}
	return fmt.Sprintf("%s does not work on this machine, says criu check: %s: it needs another kernel, or a newer criu", path, why)
}

// beginning keeps the first sayLimit bytes of what is written to it.
type beginning []byte

func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), sayLimit-len(*b))]...)
	return len(p), nil
}
