package seccomp

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Default returns Docker's default profile for a process whose bounding set is caps (canonical names), on the running
// kernel. It differs in one call: socketcall, through which a 32-bit x86 program could open the sockets that the profile
// forbids by the arguments of socket, gets ENOSYS. Programs then use socket itself (Linux >= 4.3). The profile belongs to
// the caller.
func Default(caps []string) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.GetDefaultProfile(specFor(caps))
	if err != nil {
		return nil, errkind.New(errkind.Internal, "default seccomp profile: %w", err)
	}
	const name = "socketcall"
	for i := range p.Syscalls {
		p.Syscalls[i].Names = slices.DeleteFunc(slices.Clone(p.Syscalls[i].Names), func(n string) bool { return n == name })
	}
	enosys := uint(unix.ENOSYS)
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return p, nil
}

// Load reads a profile file in Docker's format (--security-opt seccomp=<file>): the OCI document with "archMap" and with
// rules that depend on capabilities (caps, canonical names), architecture or kernel. What it says is taken literally. A
// profile without a default action and rules gives nil: no filter. A malformed one is errkind.Invalid.
func Load(body []byte, caps []string) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.LoadProfile(string(body), specFor(caps))
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "seccomp profile: %w", err)
	}
	return p, nil
}

func specFor(caps []string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
}

// maxCached bounds a Cache; a machine has a handful of profiles.
const maxCached = 64

// Cache keeps compiled programs by the content of their profiles. The zero value is ready; any number of goroutines may
// use it.
type Cache struct {
	mu       sync.Mutex // guards what follows
	programs map[[sha256.Size]byte]Program
	defaults map[string]Program // by the names of the capabilities
}

// Default is Compile of what the function Default gives for caps, which has no flags. Making that profile takes longer than
// all else here, so it is found by caps alone.
func (c *Cache) Default(caps []string) (Program, error) {
	key := strings.Join(caps, ",")
	c.mu.Lock()
	program, ok := c.defaults[key]
	c.mu.Unlock()
	if ok {
		return program, nil
	}
	profile, err := Default(caps)
	if err != nil {
		return nil, err
	}
	if program, err = Compile(profile); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.defaults == nil || len(c.defaults) >= maxCached {
		c.defaults = make(map[string]Program)
	}
	c.defaults[key] = program
	return program, nil
}

// Compile is the function Compile, done once for equal profiles. A profile with a listener is errkind.Unsupported: its
// program alone is not enough.
func (c *Cache) Compile(p *specs.LinuxSeccomp) (Program, error) {
	if NeedsListener(p) {
		return nil, errkind.New(errkind.Unsupported, "seccomp action %s: a listener is not supported here; remove it", specs.ActNotify)
	}
	document, err := json.Marshal(p)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "seccomp profile: %w", err)
	}
	key := sha256.Sum256(document)
	c.mu.Lock()
	program, ok := c.programs[key]
	c.mu.Unlock()
	if ok {
		return program, nil
	}
	if program, err = Compile(p); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.programs == nil || len(c.programs) >= maxCached {
		c.programs = make(map[[sha256.Size]byte]Program)
	}
	c.programs[key] = program
	return program, nil
}
