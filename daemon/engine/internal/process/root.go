package process

import (
	"errors"
	"io/fs"
	"os"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/fsroot"
	"pier/kernel/ids"
	"pier/kernel/seccomp"
	"pier/lib/errkind"
)

// lookup finds a user, its groups and its home in the root's own files.
func lookup(root *os.File, user string, extra []string) (specs.User, string, error) {
	u, err := ids.Resolve(fsroot.FromFile(root), user, extra)
	if errkind.Is(err, errkind.NotFound) {
		return specs.User{}, "", errkind.New(errkind.Invalid, "%w", err) // of the request; the container is there
	}
	if err != nil {
		return specs.User{}, "", err
	}
	return identity(u), u.Home, nil
}

// resolve is ids.Resolve, but a name that the root does not know makes the request wrong: what was asked for, the
// container, is found.
func resolve(root *fsroot.Root, user string, extra []string) (ids.User, error) {
	u, err := ids.Resolve(root, user, extra)
	if errkind.Is(err, errkind.NotFound) {
		err = errkind.New(errkind.Invalid, "%w", err)
	}
	return u, err
}

func identity(u ids.User) specs.User {
	out := specs.User{UID: uint32(u.UID), GID: uint32(u.GID)}
	for _, g := range u.Groups {
		out.AdditionalGids = append(out.AdditionalGids, uint32(g))
	}
	return out
}

// makeDir makes the working directory where it is missing, as Docker does.
func makeDir(root *os.File, dir string) error {
	if dir == "/" {
		return nil
	}
	r := fsroot.FromFile(root)
	info, err := r.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return errkind.New(errkind.Invalid, "Cannot mkdir: %s is not a directory", dir)
	case err == nil, !errors.Is(err, fs.ErrNotExist):
		return nil // what else is wrong, the runtime tells when it enters the directory
	}
	err = r.MkdirAll(dir, 0o755, 0, 0)
	if errors.Is(err, fs.ErrNotExist) || err == nil {
		return nil
	}
	return errkind.New(errkind.Invalid, "cannot make the working directory %s: %w", dir, err)
}

// Filters is a cache of compiled filters. The zero value is ready; safe for concurrent use.
type Filters = seccomp.Cache

// Seccomp is a filter as the supervisor takes it; the zero value is none.
type Seccomp struct {
	Program []byte
	Flags   uint // to load it with
}

// Filter compiles the filter that goes with these settings and capabilities; sized: a volume of the container has a size
// that it must not get around. A flag that is not known is Invalid.
func Filter(cache *Filters, h *container.HostConfig, caps []string, sized bool) (s Seccomp, err error) {
	sized = sized || len(h.StorageOpt) > 0
	if len(h.SecurityOpt) == 0 && !sized && !h.Privileged { // as nearly all
		s.Program, err = cache.Default(caps)
		return s, err
	}
	profile, err := Profile(h, caps)
	if profile == nil || err != nil {
		return s, err
	}
	if sized {
		profile = seccomp.KeepProject(profile)
	}
	if s.Flags, err = seccomp.Flags(profile); err == nil {
		s.Program, err = cache.Compile(profile)
	}
	return s, err
}

// Profile is what Filter compiles; nil for none.
func Profile(h *container.HostConfig, caps []string) (*specs.LinuxSeccomp, error) {
	sec, err := settings.ParseSecurity(h.SecurityOpt)
	if err != nil || sec.Seccomp == settings.SeccompUnconfined || h.Privileged && sec.Seccomp == "" {
		return nil, err
	}
	if sec.Seccomp == "" {
		return seccomp.Default(caps)
	}
	return seccomp.Load([]byte(sec.Seccomp), caps)
}

// HasSubpath refuses a subpath that does not exist in the volume at dir. It is there for a good message alone: the runtime
// resolves the path again.
func HasSubpath(dir, sub string) error {
	if sub == "" {
		return nil
	}
	r, err := fsroot.Open(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Stat(sub); err != nil {
		return errkind.New(errkind.NotFound, "cannot access subpath %q: %w", sub, err)
	}
	return nil
}
