package criu

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// manifestName is the file in a checkpoint that is ours, beside criu's own.
const manifestName = "pier-runtime.json"

// maxManifest bounds it in bytes.
const maxManifest = 4 << 20

// manifest is what a restore has to know of a checkpoint: what in it belongs to the world outside, and by which names it is
// called there.
type manifest struct {
	Version int `json:"version"`
	// Terminal says that the standard streams are a terminal.
	Terminal bool `json:"terminal,omitempty"`
	// Network says that the network namespace is not in the checkpoint, but to be given.
	Network bool `json:"network,omitempty"`
	// Streams are the names of the standard streams that come from outside, "" for the others.
	Streams [3]string `json:"streams"`
	// Mounts are the mount points whose content comes from outside.
	Mounts []string `json:"mounts"`
}

const manifestVersion = 1

// folder is a checkpoint's: trusted as to where it lies, and as to nothing that is in it.
type folder struct{ root *fsroot.Root }

func openFolder(images *os.File) folder { return folder{fsroot.FromFile(images)} }

func (d folder) write(m *manifest) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := d.root.OpenFile(manifestName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func (d folder) read() (*manifest, error) {
	f, err := d.root.OpenFile(manifestName, os.O_RDONLY|fsroot.ONofollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.New(errkind.Invalid, "the folder is no checkpoint of this runtime: it has no %s", manifestName)
	}
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "read the checkpoint: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	m := &manifest{}
	if len(text) > maxManifest {
		return nil, errkind.New(errkind.Invalid, "read the checkpoint: %s is longer than %d bytes", manifestName, maxManifest)
	}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, errkind.New(errkind.Invalid, "read the checkpoint: %s: %w", manifestName, err)
	}
	if m.Version != manifestVersion {
		return nil, errkind.New(errkind.Unsupported, "read the checkpoint: it is of version %d, this runtime reads %d", m.Version, manifestVersion)
	}
	for _, p := range m.Mounts {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			return nil, errkind.New(errkind.Invalid, "read the checkpoint: %q is no mount point", p)
		}
	}
	return m, nil
}

// parentLink is the one link that criu makes in a folder: to the dump before, where there is one.
const parentLink = "parent"

// plain refuses a folder with anything but plain files in it: criu follows what it finds there. A link to the folder of a
// former dump may be there if parents is set.
func plain(images *os.File, parents bool) error {
	list, err := images.ReadDir(-1)
	if err != nil {
		return err
	}
	if _, err := images.Seek(0, io.SeekStart); err != nil { // who reads it next begins anew
		return err
	}
	for _, e := range list {
		if e.Type().IsRegular() || parents && e.Name() == parentLink && e.Type() == fs.ModeSymlink {
			continue
		}
		return errkind.New(errkind.Invalid, "the checkpoint holds %q, which is no plain file", e.Name())
	}
	return nil
}
