package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"pier/api/shim"
	"pier/kernel/filelock"
	"pier/kernel/pidfd"
	"pier/kernel/reaper"
	"pier/kernel/self"
	"pier/lib/errkind"
	"pier/runtime/logging"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/probes"
)

// Config says where a supervisor works.
type Config struct {
	// Root is the folder with tasks/; it is made if it is missing. Its content means nothing after a reboot.
	Root string
	// Socket is the path of the unix socket; empty: Root/supervisor.sock.
	Socket string
	// Binary is the path of the program that an upgrade executes; empty: the path of this one, which the kernel does not
	// know once it is protected.
	Binary string
	// Log gets what went wrong; nil: slog.Default.
	Log *slog.Logger

	// inherited is the state that this program's predecessor in the same process left, nil for a fresh start.
	inherited *state
}

// Supervisor owns the container processes of one root folder.
type Supervisor struct {
	root, socket string
	binary       string // see Config
	boot         string
	log          *slog.Logger
	tools        toolBox
	packer       *logging.Packer
	generation   int
	listener     *net.UnixListener
	duty         *os.File // the lock that makes this the only supervisor of root; held until the process ends
	since        uint64   // when duty was taken, as a process's start time: what a predecessor has made is not younger

	// starting is held for reading while a process is made and entered in tasks, for writing where no process may be
	// in between.
	starting sync.RWMutex
	// restores is held for reading, before starting, while a container is made from a checkpoint, which can take minutes. Nobody
	// waits for it in order to write: who comes later would wait behind.
	restores sync.RWMutex

	mu       sync.Mutex // guards what follows
	tasks    map[shim.TaskRef]*task
	making   map[shim.TaskRef]*task       // no process yet
	waiting  map[shim.TaskRef][]*attacher // streams attached before their task began
	watchers map[*watcher]struct{}
	stopping bool
	restored string // the container whose restore began last

	empty func() (*os.File, error) // the mount namespace that those of containers are copies of, made when it begins to serve
	init  func() (*os.File, error) // the program for containers that ask for an init, made with the first of them

	probes *probes.Probes

	stop context.CancelFunc
	tidy *tidier
}

// Run serves until a shutdown is asked for or ctx ends. Containers live on when it returns. It makes the process a child
// subreaper and a session of its own, so it is the main work of its process.
func Run(ctx context.Context, c Config) error {
	s, err := open(c)
	if err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	debug.SetGCPercent(200) // little lives here: a collection for each eight megabytes that requests leave behind, and those of the tidier
	s.tidy = newTidier(tidyUp)
	defer s.tidy.stop()
	context.AfterFunc(ctx, func() { s.listener.Close() })
	if c.inherited != nil {
		s.inherit(c.inherited)
	}
	go s.reapOrphans(ctx)
	_, _ = s.empty() // before there are probes: it uses up a thread, and a probe dies with the thread that began it
	for {
		conn, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			s.tools.close()
			return nil
		}
		if err != nil {
			// Out of descriptors, most likely: those who are connected can go on and free some.
			s.log.Error("accept a connection", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go s.serve(conn)
	}
}

func open(c Config) (*Supervisor, error) {
	s := &Supervisor{root: c.Root, socket: c.Socket, binary: c.Binary, log: c.Log, tools: make(toolBox, 4), generation: 1,
		tasks: map[shim.TaskRef]*task{}, making: map[shim.TaskRef]*task{}, waiting: map[shim.TaskRef][]*attacher{}, watchers: map[*watcher]struct{}{},
		init: sync.OnceValues(reaper.Open), empty: sync.OnceValues(oci.EmptyMounts)}
	s.probes = probes.New(probeHost{s}, s.log)
	if s.socket == "" {
		s.socket = filepath.Join(s.root, "supervisor.sock")
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.packer = logging.NewPacker(s.log)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("open supervisor: %w", err)
	}
	s.boot = string(boot[:len(boot)-1])
	// A killer of processes that need memory should take containers first. Not every root may ask for that.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	if err := errors.Join(self.Setsid(), self.Undumpable(), pidfd.SetSubreaper()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.root, "tasks"), 0o700); err != nil {
		return nil, err
	}
	if err := s.takeDuty(c.inherited != nil); err != nil {
		return nil, err
	}
	if c.inherited != nil {
		s.listener, err = c.inherited.listen()
		s.generation = c.inherited.Generation
	} else {
		s.listener, err = s.listen()
	}
	if err != nil {
		return nil, err
	}
	s.listener.SetUnlinkOnClose(false) // the socket may be a successor's by then
	return s, nil
}

// dutyLimit is how long a supervisor waits for its predecessor, which is about to end, to be gone.
const dutyLimit = 2 * time.Second

// takeDuty makes this process the one supervisor of its root, or reports the one that lives. Two that start at the same
// time, for two daemons of which one was just killed, would otherwise both find the socket dead and both replace it. An
// upgrade loses the lock for a moment and takes it again; who asks meanwhile still finds the socket answered.
func (s *Supervisor) takeDuty(inherited bool) (err error) {
	for deadline := time.Now().Add(dutyLimit); ; time.Sleep(time.Millisecond) {
		s.duty, err = filelock.Take(filepath.Join(s.root, "supervisor.lock"))
		if err == nil {
			s.since, err = pidfd.Now()
		}
		if !errkind.Is(err, errkind.Conflict) {
			return err
		}
		if c, dialErr := net.Dial("unix", s.socket); dialErr == nil && !inherited {
			c.Close()
			return errkind.New(errkind.Conflict, "supervise %s: another supervisor answers on %s; end it first", s.root, s.socket)
		} else if dialErr == nil {
			c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("supervise %s: %w", s.root, err)
		}
	}
}

// listen makes the socket. One that answers belongs to a living supervisor and is left alone.
func (s *Supervisor) listen() (*net.UnixListener, error) {
	if c, err := net.Dial("unix", s.socket); err == nil {
		c.Close()
		return nil, errkind.New(errkind.Conflict, "supervise %s: another supervisor answers on %s; end it first", s.root, s.socket)
	}
	if err := os.Remove(s.socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	// Nobody can connect between bind and chmod but root, who could anyway: the folder is root's alone.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("supervise %s: %w", s.root, err)
	}
	if err := os.Chmod(s.socket, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// dir is the folder of a task. ref was checked by validate.
func (s *Supervisor) dir(ref shim.TaskRef) string {
	if ref.Exec != "" {
		return filepath.Join(s.root, "tasks", ref.ID, "exec", ref.Exec)
	}
	return filepath.Join(s.root, "tasks", ref.ID)
}

const maxName = 128

// validate refuses names that are not one plain path component.
func validate(ref shim.TaskRef) error {
	for _, name := range []string{ref.ID, ref.Exec} {
		ok := len(name) <= maxName
		for i := range len(name) {
			c := name[i]
			alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			ok = ok && (alnum || i > 0 && (c == '_' || c == '-' || c == '.'))
		}
		if !ok {
			return errkind.New(errkind.Invalid, "task name %q: only letters, digits, _, - and . are allowed", name)
		}
	}
	if ref.ID == "" {
		return errkind.New(errkind.Invalid, "task name: the container's is missing")
	}
	return nil
}

// find returns a task.
func (s *Supervisor) find(ref shim.TaskRef) (*task, error) {
	if err := validate(ref); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[ref]; t != nil {
		return t, nil
	}
	return nil, errkind.New(errkind.NotFound, "task %s: there is none", name(ref))
}

func name(ref shim.TaskRef) string {
	if ref.Exec != "" {
		return ref.ID + "/" + ref.Exec
	}
	return ref.ID
}
