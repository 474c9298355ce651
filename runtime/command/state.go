package command

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
)

// record is state.json.
type record struct {
	ID        string      `json:"id"`
	Bundle    string      `json:"bundle"`
	Pid       int         `json:"pid"`
	StartTime uint64      `json:"startTime"`
	Created   time.Time   `json:"created"`
	Cgroup    string      `json:"cgroup"`
	Paused    bool        `json:"paused,omitempty"`
	Spec      *specs.Spec `json:"spec"`

	dir string
}

const (
	stateFile = "state.json"
	gateDir   = "gate"
	// statusPaused is the one status that the specification does not know.
	statusPaused specs.ContainerState = "paused"
)

// folder returns the state folder of id, which must be one plain path component.
func (o *options) folder(id string) (string, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-"
	if id == "" || len(id) > 255 || strings.Trim(id, letters) != "" || id == "." || id == ".." {
		return "", errkind.New(errkind.Invalid, "invalid container id %q: only letters, digits and _ + - . are allowed", id)
	}
	return filepath.Join(o.root, id), nil
}

// newRecord makes the state folder of a container that must not exist yet.
func (o *options) newRecord(id string) (*record, error) {
	dir, err := o.folder(id)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.root, 0o711); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, errkind.New(errkind.Conflict, "container with id %s already exists", id)
		}
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, gateDir), 0o700); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &record{ID: id, dir: dir, Created: time.Now().UTC()}, nil
}

func (o *options) load(id string) (*record, error) {
	dir, err := o.folder(id)
	if err != nil {
		return nil, err
	}
	r := &record{dir: dir}
	if err := o.readDocument(filepath.Join(dir, stateFile), r); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errkind.New(errkind.NotFound, "container does not exist")
		}
		return nil, err
	}
	return r, nil
}

func (r *record) save() error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(filepath.Join(r.dir, stateFile), data, 0o600)
}

func (r *record) gate() string { return filepath.Join(r.dir, gateDir) }

// open returns the first process; one that has ended is errkind.NotFound.
func (r *record) open() (*os.File, error) { return pidfd.Open(r.Pid, r.StartTime) }

func (r *record) status() specs.ContainerState {
	f, err := r.open()
	if err != nil {
		return specs.StateStopped
	}
	defer f.Close()
	if c := pidfd.Condition(r.Pid); c == 'Z' || c == 'X' {
		return specs.StateStopped // its parent has not looked yet
	}
	if _, err := os.Lstat(filepath.Join(r.gate(), "go")); err == nil {
		return specs.StateCreated
	}
	if r.Paused {
		return statusPaused
	}
	return specs.StateRunning
}

// state is the document of the specification's query state operation.
func (r *record) state() *specs.State {
	s := &specs.State{Version: specs.Version, ID: r.ID, Status: r.status(), Bundle: r.Bundle, Annotations: r.Spec.Annotations}
	if s.Status != specs.StateStopped {
		s.Pid = r.Pid
	}
	return s
}

// group opens the container's cgroup.
func (r *record) group() (*cgroup.Cgroup, error) { return cgroup.Open(r.Cgroup) }

// cgroupPath is where a container's cgroup goes: below the hierarchies, by name if the configuration does not say.
func cgroupPath(spec *specs.Spec, id string) (string, error) {
	p := ""
	if spec.Linux != nil {
		p = spec.Linux.CgroupsPath
	}
	if strings.Count(p, ":") == 2 {
		return "", errkind.New(errkind.Unsupported, "cgroupsPath %q is in systemd's form, which is not supported", p)
	}
	if p == "" {
		p = "/pier-runtime/" + id
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", errkind.New(errkind.Invalid, "cgroupsPath %q leads out of its place", p)
		}
	}
	return filepath.Clean("/" + p), nil
}
