// Package execs remembers the further processes of containers, from their creation until some time after their end.
//
// Start reading at Table.
package execs

import (
	"slices"
	"sync"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/lifecycle"
	"pier/lib/errkind"
)

// Exec is one further process in a container, of which C is the engine's own. What is exported never changes. Safe for
// concurrent use.
type Exec[C any] struct {
	ID        string
	Container string // its identifier
	In        C
	Want      container.ExecCreateRequest
	Keys      []byte // detach from its terminal

	mu      sync.Mutex // guards what follows
	asked   bool       // for its start
	running bool
	pid     int
	code    *int
	ended   chan struct{} // closed with the end, or when it could not start
}

// New is an exec that was created.
func New[C any](id, containerID string, in C, want container.ExecCreateRequest, keys []byte) *Exec[C] {
	return &Exec[C]{ID: id, Container: containerID, In: in, Want: want, Keys: keys, ended: make(chan struct{})}
}

// Ask lets one caller start it; a second one is Conflict, in Docker's words.
func (x *Exec[C]) Ask() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.asked && x.running:
		return errkind.New(errkind.Conflict, "exec command %s is already running", x.ID)
	case x.asked:
		return errkind.New(errkind.Conflict, "exec command %s has already run", x.ID)
	}
	x.asked = true
	return nil
}

// Begin notes that the process is being started: it counts as running. Its number follows with Began.
func (x *Exec[C]) Begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = true
}

// Began notes the number of the process.
func (x *Exec[C]) Began(pid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pid = pid
}

// Finish notes the end, or that it could not start. It reports whether that is news.
func (x *Exec[C]) Finish(code int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.code != nil {
		return false
	}
	x.running, x.code = false, &code
	close(x.ended)
	return true
}

// Running reports whether it runs.
func (x *Exec[C]) Running() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.running
}

// Ended is closed with the end.
func (x *Exec[C]) Ended() <-chan struct{} { return x.ended }

// Code is the exit code, valid once Ended is closed.
func (x *Exec[C]) Code() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *x.code
}

// Inspect describes it.
func (x *Exec[C]) Inspect() container.ExecInspectResponse {
	x.mu.Lock()
	defer x.mu.Unlock()
	privileged, keys := x.Want.Privileged, []byte{}
	if x.Want.DetachKeys != "" { // the usual ones are not told
		keys = x.Keys
	}
	return container.ExecInspectResponse{
		ID: x.ID, Running: x.running, ExitCode: x.code, ContainerID: x.Container, Pid: x.pid, DetachKeys: keys,
		OpenStdin: x.Want.AttachStdin, OpenStdout: x.Want.AttachStdout, OpenStderr: x.Want.AttachStderr, CanRemove: x.code != nil,
		ProcessConfig: &container.ExecProcessConfig{Tty: x.Want.Tty, Entrypoint: x.Want.Cmd[0], Arguments: x.Want.Cmd[1:],
			Privileged: &privileged, User: x.Want.User},
	}
}

// Table finds execs by identifier, and by container. The zero value has none. Safe for concurrent use.
type Table[C any] struct {
	mu   sync.Mutex // guards what follows; is held when an Exec's own is taken
	byID map[string]*Exec[C]
	of   map[string]map[string]*Exec[C] // container -> identifier
}

// Add remembers x.
func (t *Table[C]) Add(x *Exec[C]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID, t.of = map[string]*Exec[C]{}, map[string]map[string]*Exec[C]{}
	}
	if t.of[x.Container] == nil {
		t.of[x.Container] = map[string]*Exec[C]{}
	}
	t.byID[x.ID], t.of[x.Container][x.ID] = x, x
}

// Get finds one. NotFound, in Docker's words, where it was forgotten or never was.
func (t *Table[C]) Get(id string) (*Exec[C], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.byID[id]; x != nil {
		return x, nil
	}
	return nil, errkind.New(errkind.NotFound, "No such exec instance: %s", id)
}

// Running lists the identifiers of those that run in a container, sorted.
func (t *Table[C]) Running(containerID string) (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, x := range t.of[containerID] {
		if x.Running() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Forget drops one.
func (t *Table[C]) Forget(x *Exec[C]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, x.ID)
	delete(t.of[x.Container], x.ID)
	if len(t.of[x.Container]) == 0 {
		delete(t.of, x.Container)
	}
}

// ForgetAll drops those of a container, which is gone. How one that runs has ended is not known.
func (t *Table[C]) ForgetAll(containerID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, x := range t.of[containerID] {
		delete(t.byID, id)
		x.Finish(lifecycle.UnknownExit)
	}
	delete(t.of, containerID)
}
