package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/lib/errkind"
)

// Writable is the place of a container's own changes: an overlay's upper and work folder.
type Writable struct {
	ID string
	// Upper holds the changes in overlayfs form; Work is the kernel's and means nothing.
	Upper, Work string
}

// MountOptions tune Mount.
type MountOptions struct {
	// Volatile drops all syncs of the upper folder: faster, but meaningless after a power cut. For builds and
	// containers that are removed when they end.
	Volatile bool
	ReadOnly bool
	// ExtraLowers are folders put above the chain's layers, top first.
	ExtraLowers []string
	// MountPoints shows what every container mounts upon (/dev, /proc, /sys, /etc/hostname, /etc/hosts,
	// /etc/resolv.conf) where the chain has none, empty: making them at each start, and removing them after it, costs
	// more than all the mounts upon them.
	MountPoints bool
	// OrReadOnly takes what can only be read, where the disk is too full for more.
	OrReadOnly bool
}

// NewWritable makes an empty writable layer called id (one path component: letters, digits, '_', '.', '-').
// Conflict where it exists.
func (s *Store) NewWritable(id string) (Writable, error) {
	w, err := s.writable(id)
	if err != nil {
		return Writable{}, err
	}
	dir := filepath.Dir(w.Upper)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return Writable{}, errkind.New(errkind.Conflict, "writable layer %s exists already", id)
		}
		return Writable{}, errkind.OfDisk("make writable layer "+id, err)
	}
	// The upper folder's mode is that of the container's "/".
	for path, mode := range map[string]os.FileMode{w.Upper: 0o755, w.Work: 0o700} {
		if err := makeDir(path, mode); err != nil {
			_ = s.trash.put(dir)
			return Writable{}, err
		}
	}
	return w, nil
}

// Writable returns the writable layer id, made before. NotFound where there is none.
func (s *Store) Writable(id string) (Writable, error) {
	w, err := s.writable(id)
	if err != nil {
		return Writable{}, err
	}
	if _, err := os.Lstat(w.Upper); err != nil {
		return Writable{}, errkind.New(errkind.NotFound, "no such writable layer: %s", id)
	}
	return w, nil
}

// Writables lists the names of all writable layers, in no order, for owners that sweep what a crash left to them.
func (s *Store) Writables() ([]string, error) {
	names, err := readNames(filepath.Join(s.root, writableDir))
	if err != nil {
		return nil, fmt.Errorf("list writable layers: %w", err)
	}
	return names, nil
}

// RemoveWritable removes the writable layer id with all its content: at once by name, in the background from the disk.
// One that does not exist is no error. Mounts made of it must be closed before, or they show an empty or broken tree.
func (s *Store) RemoveWritable(id string) error {
	w, err := s.writable(id)
	if err != nil {
		return err
	}
	if err := s.trash.put(filepath.Dir(w.Upper)); err != nil {
		return fmt.Errorf("remove writable layer %s: %w", id, err)
	}
	return nil
}

func (s *Store) writable(id string) (Writable, error) {
	if !validName(id) {
		return Writable{}, errkind.New(errkind.Invalid, "bad name of a writable layer: %q", id)
	}
	dir := filepath.Join(s.root, writableDir, id)
	return Writable{ID: id, Upper: filepath.Join(dir, diffDir), Work: filepath.Join(dir, "work")}, nil
}

func validName(name string) bool {
	if name == "" || len(name) > 128 || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// Mount returns chain ("" for an empty tree) as a detached mount, with w on top to take the changes; without w it is
// read-only. The caller holds chain as long as the mount lives, and closes the file; the last reference unmounts.
// One writable layer carries one mount at a time. Exhausted where the disk is too full for anything to be written in w.
func (s *Store) Mount(chain digest.Digest, w *Writable, o MountOptions) (*os.File, error) {
	lowers, err := s.stack(chain, o)
	if err != nil {
		return nil, err
	}
	options := mount.OverlayOptions{Lower: lowers, ReadOnly: o.ReadOnly}
	if w != nil {
		options.Upper, options.Work, options.Volatile = w.Upper, w.Work, o.Volatile
		// After a volatile mount the kernel refuses the folder, for it cannot know whether the machine went down in
		// between. Here it did not, or what it lost is meaningless.
		if err := os.RemoveAll(filepath.Join(w.Work, "work", "incompat")); err != nil {
			return nil, fmt.Errorf("mount layers: %w", err)
		}
	}
	f, err := mount.Overlay(options)
	if err != nil {
		return nil, fmt.Errorf("mount layers: %w", err)
	}
	if w == nil || o.ReadOnly || o.OrReadOnly {
		return f, nil
	}
	// Where the kernel cannot make its work folder it mounts all the same, and lets nobody write.
	in, err := fsroot.FSOf(f)
	if err == nil && in.ReadOnly {
		err = errkind.New(errkind.Exhausted, "the kernel could make nothing in %s and would let nobody write: the disk, or its quota for %s, is full: "+
			"free some space and try again", w.Work, w.ID)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("mount layers: %w", err)
	}
	return f, nil
}

// stack returns the read-only folders of a mount, top first.
func (s *Store) stack(chain digest.Digest, o MountOptions) ([]string, error) {
	lowers, err := s.lowers(chain)
	if err != nil {
		return nil, err
	}
	lowers = slices.Concat(o.ExtraLowers, lowers)
	if o.MountPoints && len(lowers) < MaxDepth {
		lowers = append(lowers, filepath.Join(s.root, baseDir))
	}
	return lowers, nil
}

// Folders says where the files of a mount of chain by Mount are, under the names that clients know from the storage
// driver overlay2: UpperDir, WorkDir, and LowerDir with colons between, top first. Without w the chain's top layer is the
// UpperDir, as an image is described. What there is not is left out; nil where chain is empty, w is nil, or a layer is
// missing. The folders are to be read only.
func Folders(s *Store, chain digest.Digest, w *Writable, o MountOptions) map[string]string {
	lowers, err := s.stack(chain, o)
	if err != nil || chain == "" && w == nil {
		return nil
	}
	data := map[string]string{}
	if w != nil {
		data["UpperDir"], data["WorkDir"] = w.Upper, w.Work
	} else {
		data["UpperDir"], lowers = lowers[0], lowers[1:]
	}
	if len(lowers) > 0 {
		data["LowerDir"] = strings.Join(lowers, ":")
	}
	return data
}
