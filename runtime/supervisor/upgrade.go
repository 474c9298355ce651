package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/self"
	"pier/runtime/supervisor/internal/wire"
)

// state is what one program leaves to the next in the same process: descriptor numbers. Everything else is on disk.
type state struct {
	Generation int         `json:"generation"`
	Listener   int         `json:"listener"`
	Conn       int         `json:"conn"` // whoever asked for the upgrade waits here
	Tasks      []taskState `json:"tasks"`
}

type taskState struct {
	Ref      shim.TaskRef `json:"ref"`
	Pidfd    int          `json:"pidfd"` // 0: none, as below
	Master   int          `json:"master"`
	Stdin    int          `json:"stdin"`
	Rootfs   int          `json:"rootfs"`
	Fifos    []int        `json:"fifos"` // kept open so that their content stays
	Child    bool         `json:"child,omitempty"`
	Attached waiting      `json:"attached"`
}

// upgrade executes the binary at this program's path. It returns only if that failed, with nothing changed. Attached
// streams and watches are cut off; pierd resumes them. Output can be cut off at any instruction, as by a crash.
func (s *Supervisor) upgrade(conn *fdsock.Conn) (err error) {
	release, err := s.still("upgrade the supervisor")
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes.Cut()
	var kept, copies []*os.File
	defer func() {
		for _, f := range kept {
			_, _ = self.Keep(f, false)
		}
		for _, f := range copies {
			f.Close()
		}
	}()
	keep := func(f *os.File) int {
		if f == nil || err != nil {
			return 0
		}
		n, keepErr := self.Keep(f, true)
		if errors.Is(keepErr, os.ErrClosed) { // of a task that has just ended
			return 0
		}
		err = keepErr
		kept = append(kept, f)
		return n
	}
	duplicate := func(get func() (*os.File, error)) int {
		f, getErr := get()
		if getErr != nil {
			err = errors.Join(err, getErr)
			return 0
		}
		copies = append(copies, f)
		return keep(f)
	}
	st := state{Generation: s.generation + 1, Listener: duplicate(s.listener.File), Conn: duplicate(conn.NetConn().File)}
	for _, t := range s.tasks {
		ts := taskState{Ref: t.ref, Pidfd: keep(t.pidfd), Child: t.child, Attached: t.hub.count()}
		if t.info.Exit == nil {
			ts.Master, ts.Rootfs = keep(t.master), keep(t.rootfs)
			if t.stdin != nil {
				ts.Stdin = duplicate(t.stdin.File)
			}
			for _, o := range t.streams {
				ts.Fifos = append(ts.Fifos, keep(o.fifo))
			}
		}
		st.Tasks = append(st.Tasks, ts)
	}
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	memory, err := self.Memfd("pier-supervisor", text)
	if err != nil {
		return err
	}
	copies = append(copies, memory)
	number := keep(memory)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	binary := s.binary
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return err
		}
	}
	binary = strings.TrimSuffix(binary, " (deleted)") // replaced by a new one of the same name
	argv := []string{binary, "supervise", "--root", s.root, "--socket", s.socket, "--state-fd", strconv.Itoa(number)}
	return self.Exec(binary, argv, os.Environ())
}

// readState takes over what upgrade left at descriptor number.
func readState(number int) (*state, error) {
	f := os.NewFile(uintptr(number), "state")
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("take over from the former program: %w", err)
	}
	st := &state{}
	if err := json.Unmarshal(text, st); err != nil {
		return nil, fmt.Errorf("take over from the former program: %w", err)
	}
	return st, nil
}

func (st *state) listen() (*net.UnixListener, error) {
	f := os.NewFile(uintptr(st.Listener), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over from the former program: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// inherit takes up the tasks of the former program and answers who asked for the upgrade.
func (s *Supervisor) inherit(st *state) {
	file := func(n int, name string) *os.File {
		if n == 0 {
			return nil
		}
		f := os.NewFile(uintptr(n), name)
		if _, err := self.Keep(f, false); err != nil {
			s.log.Error("take over a descriptor", "name", name, "err", err)
		}
		return f
	}
	for _, t := range st.Tasks {
		var fifos []*os.File
		for _, n := range t.Fifos {
			fifos = append(fifos, file(n, "fifo"))
		}
		err := s.takeUp(t.Ref, given{pidfd: file(t.Pidfd, "pidfd"), master: file(t.Master, "master"), stdin: file(t.Stdin, "stdin"),
			rootfs: file(t.Rootfs, "rootfs"), child: t.Child, attached: t.Attached})
		if err != nil {
			s.log.Error("take over a task", "task", t.Ref, "err", err)
		}
		for _, f := range fifos {
			if f != nil {
				f.Close()
			}
		}
	}
	f := file(st.Conn, "conn")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		s.log.Error("answer the upgrade", "err", err)
		return
	}
	conn := c.(*net.UnixConn)
	if err := wire.Send(fdsock.NewConn(conn), shim.Response{Hello: s.hello()}); err != nil {
		conn.Close()
		return
	}
	go s.serve(conn)
}
