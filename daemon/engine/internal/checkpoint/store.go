package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"pier/api/docker"
	"pier/kernel/fsroot"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
)

const (
	// folderName is where a container's checkpoints lie in its own folder, noteName what is half done.
	folderName = "checkpoints"
	noteName   = "checkpoint.pending"
	// maxNote and maxNames bound what is read of a note and of a folder.
	maxNote  = 16 << 10
	maxNames = 100_000
)

// Place says whose checkpoints are meant, and where they are.
type Place struct {
	// Own is the container's own folder on the host, Ref how its user called it.
	Own, Ref string
	// Dir is the folder that the user named, "" for the container's own.
	Dir string
}

// Store makes, finds and removes checkpoints. Safe for concurrent use: one container's are made and removed one after the
// other, and whoever comes second is refused.
type Store struct {
	mu   sync.Mutex
	busy map[string]bool // by the containers' own folders
}

// New returns a Store.
func New() *Store { return &Store{busy: map[string]bool{}} }

// enter makes the caller the only one who changes checkpoints of that container, until leave.
func (s *Store) enter(own string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[own] {
		return nil, false
	}
	s.busy[own] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, own)
	}, true
}

func busy(p Place) error {
	return errkind.New(errkind.Conflict, "another checkpoint of container %s is being made or removed: wait for it", p.Ref)
}

// CheckName refuses a name that no checkpoint may have, in Docker's words.
func CheckName(name string) error {
	if len(name) < 2 || len(name) > 200 || !docker.IsName(name) {
		return errkind.New(errkind.Invalid, "Invalid checkpoint ID (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

// Folder is where the checkpoints of a container lie in its own folder, if it has any.
func Folder(own string) string { return filepath.Join(own, folderName) }

// path is the folder that p means.
func (p Place) path() (string, error) {
	switch {
	case p.Dir == "":
		return Folder(p.Own), nil
	case !filepath.IsAbs(p.Dir):
		return "", errkind.New(errkind.Invalid, "invalid checkpoint folder %q: it lies on the daemon's host, so its path must begin with /", p.Dir)
	}
	return filepath.Clean(p.Dir), nil
}

// open opens the folder; create makes it where it is missing. Without create a missing one is fs.ErrNotExist.
func (p Place) open(create bool) (*fsroot.Root, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, errkind.New(errkind.Invalid, "checkpoint folder: %w", err)
		}
	}
	root, err := fsroot.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.New(errkind.Invalid, "checkpoint folder %s: %w", path, err)
	}
	return root, err
}

func missing(p Place, name string) error {
	return errkind.New(errkind.NotFound, "checkpoint %s does not exist for container %s", name, p.Ref)
}

// List returns the names of the checkpoints, sorted. A folder of the user's that does not exist is NotFound.
func (s *Store) List(p Place) ([]string, error) {
	root, err := p.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		if p.Dir == "" {
			return nil, nil
		}
		return nil, errkind.New(errkind.NotFound, "checkpoint folder %s does not exist", p.Dir)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := root.OpenFile("/", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	all, err := dir.Readdirnames(maxNames + 1)
	if len(all) > maxNames {
		return nil, errkind.New(errkind.Invalid, "checkpoint folder %s has more than %d entries: name one that holds checkpoints", p.Dir, maxNames)
	}
	if len(all) == 0 { // which is io.EOF
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		if CheckName(name) != nil {
			continue
		}
		if k, err := open(root, p, name); err == nil {
			k.Close()
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Kept is one whole checkpoint. Whoever has it calls Close.
type Kept struct {
	// Folder is open for reading.
	Folder   *os.File
	Manifest Manifest
}

// Close releases the folder.
func (k *Kept) Close() { _ = k.Folder.Close() }

// Open finds a checkpoint. NotFound where there is none of that name; Invalid where what has the name is no checkpoint.
func (s *Store) Open(p Place, name string) (*Kept, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, err := p.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(p, name)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return open(root, p, name)
}

func open(root *fsroot.Root, p Place, name string) (*Kept, error) {
	if fi, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, missing(p, name)
	} else if err != nil {
		return nil, err
	} else if !fi.IsDir() {
		return nil, errkind.New(errkind.Invalid, "%s exists and is not a directory", name)
	}
	folder, err := root.OpenFile(name, os.O_RDONLY|fsroot.ODirectory|fsroot.ONofollow, 0)
	if err != nil {
		return nil, err
	}
	k := &Kept{Folder: folder}
	if k.Manifest, err = readManifest(folder); err != nil {
		k.Close()
		return nil, errkind.New(errkind.Invalid, "folder %s is no checkpoint that Pier has made whole: %w", name, err)
	}
	return k, nil
}

// Remove removes a checkpoint. What is no checkpoint is left alone, whatever its name.
func (s *Store) Remove(p Place, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	leave, ok := s.enter(p.Own)
	if !ok {
		return busy(p)
	}
	defer leave()
	k, err := s.Open(p, name)
	if err != nil {
		return err
	}
	k.Close()
	return p.remove(name)
}

func (p Place) remove(name string) error {
	root, err := p.open(false)
	if err != nil {
		return err
	}
	defer root.Close()
	w, err := p.begin(name, "gone")
	if err != nil {
		return err
	}
	defer w.end()
	if err := root.Rename(name, w.Aside); err != nil {
		return err
	}
	return root.RemoveAll(w.Aside)
}

// Recover removes what was half made or half removed when a daemon died. own is the container's own folder.
func (s *Store) Recover(own string) error {
	leave, ok := s.enter(own)
	if !ok {
		return nil // it is being made or removed now, not by one that died
	}
	defer leave()
	return recoverNote(own)
}

// pending is the note of what is half done.
type pending struct {
	own string
	// Dir and Aside are the folder and, in it, the name of what has no name of its own yet, or no more.
	Dir, Aside string
}

// begin notes that something with a made-up name comes to be in the folder.
func (p Place) begin(name, what string) (*pending, error) {
	if err := recoverNote(p.Own); err != nil {
		return nil, err
	}
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	w := &pending{own: p.Own, Dir: path, Aside: aside(name, what)}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	return w, atomicfile.Write(filepath.Join(p.Own, noteName), text, 0o600)
}

// end forgets the note once nothing of that name is left.
func (w *pending) end() {
	root, err := fsroot.Open(w.Dir)
	if err == nil {
		_, err = root.Lstat(w.Aside)
		_ = root.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Join(w.own, noteName))
	}
}

func recoverNote(own string) error {
	root, err := fsroot.Open(own)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer root.Close()
	text, err := root.ReadFile(noteName, maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var w pending
	if err := json.Unmarshal(text, &w); err != nil || !isAside(w.Aside) || !filepath.IsAbs(w.Dir) {
		return errkind.New(errkind.Internal, "%s in %s says nothing that can be read: remove it", noteName, own)
	}
	if dir, err := fsroot.Open(w.Dir); err == nil {
		err = dir.RemoveAll(w.Aside)
		_ = dir.Close()
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Remove(noteName)
}
