package mounts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pier/daemon/engine/internal/settings"
	"pier/lib/id"
)

// note is the file in a container's folder: a name a line.
const note = "volumes"

// maxNote bounds the file in bytes.
const maxNote = 1 << 20

// claim keeps anonymous volumes from outliving a container that was never made: it gives the anonymous volumes among mounts their names and writes these down in the folder dir. Where there are
// none it writes nothing. The note is not synced: after a power cut the folder or the volumes may be gone as well.
func claim(dir string, mounts []settings.Mount) error {
	var names []string
	for i := range mounts {
		if m := &mounts[i]; m.Anonymous && m.Name == "" {
			m.Name = id.New()
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, note), []byte(strings.Join(names, "\n")), 0o600)
}

// claimed returns the names that claim wrote in dir, none where nothing is to be read.
func claimed(dir string) []string {
	path := filepath.Join(dir, note)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxNote {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var names []string
	for name := range strings.FieldsSeq(string(text)) {
		if len(name) == id.Len && id.Valid(name) {
			names = append(names, name)
		}
	}
	return names
}

// unclaim removes the note: from now on the volumes may outlive the folder.
func unclaim(dir string) error {
	err := os.Remove(filepath.Join(dir, note))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
