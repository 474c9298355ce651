package process

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/engine/internal/settings"
	kmount "pier/kernel/mount"
	"pier/lib/errkind"
)

// Bundle writes what hooks of devices look for into the folder dir: the configuration, and a place for the root that they
// see it at. It returns dir, "" where there are no hooks.
func Bundle(dir string, s *specs.Spec) (string, error) {
	if s.Hooks == nil {
		return "", nil
	}
	s.Root.Path = filepath.Join(dir, "rootfs")
	text, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(s.Root.Path, 0o711)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
	}
	if err != nil {
		return "", errkind.New(errkind.Internal, "bundle for hooks %s: %w", dir, err)
	}
	return dir, nil
}

// BindSource refuses a bind whose source does not exist, or makes it where it is to be made. It refuses one that is to share
// mounts with the host where the host's own mount shares none: nothing would ever pass.
func BindSource(m settings.Mount) error {
	_, err := os.Stat(m.Source)
	switch {
	case err == nil:
		return passesMounts(m)
	case !m.MakeSource || !os.IsNotExist(err):
		return errkind.New(errkind.Invalid, "invalid mount config for type %q: bind source path does not exist: %s", m.Type, m.Source)
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return errkind.New(errkind.Invalid, "error while creating mount source path '%s': %w", m.Source, err)
	}
	return passesMounts(m)
}

func passesMounts(m settings.Mount) error {
	share := m.Propagation == mount.PropagationShared || m.Propagation == mount.PropagationRShared
	if !share && m.Propagation != mount.PropagationSlave && m.Propagation != mount.PropagationRSlave {
		return nil
	}
	shared, slave, err := kmount.Propagation(m.Source)
	switch {
	case err != nil:
		return errkind.New(errkind.Internal, "propagation of %s: %w", m.Source, err)
	case share && !shared:
		return errkind.New(errkind.Invalid, "path %s is mounted on a file system that is not a shared mount: make it one (mount --make-shared), or leave out %q", m.Source, m.Propagation)
	case !share && !shared && !slave:
		return errkind.New(errkind.Invalid, "path %s is mounted on a file system that is not a shared or slave mount: make it one (mount --make-shared), or leave out %q", m.Source, m.Propagation)
	}
	return nil
}
