package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
	"pier/lib/id"
)

// The folders below Store.root, and the names within a layer's folder.
const (
	chainDir    = "chains"
	writableDir = "writable"
	tempDir     = "tmp"
	trashDir    = "trash"
	emptyDir    = "empty"
	baseDir     = "base"

	diffDir     = "diff"
	shadowDir   = "shadow"
	recordFile  = "layer.json"
	recipeFile  = "recipe"
	settledFile = "settled"
)

// maxRecord bounds layer.json.
const maxRecord = 32 << 20

// record is layer.json.
type record struct {
	Layer
	// Boot is the boot during which the layer was made; it needs no syncs while that lasts.
	Boot string
	// OpaqueRoot: the layer hides everything below it. overlayfs has no such mark on a root folder, so the store
	// leaves the lower ones out.
	OpaqueRoot bool `json:",omitempty"`
	// Shadows are entries that a later one of the same archive replaced. Their content is still needed for the tar.
	Shadows []shadow `json:",omitempty"`
}

func (s *Store) dir(chain digest.Digest) string {
	return filepath.Join(s.root, chainDir, chain.Encoded())
}

func (s *Store) diff(chain digest.Digest) string { return filepath.Join(s.dir(chain), diffDir) }

// makeDir makes dir with exactly mode; one that exists gets that mode too.
func makeDir(dir string, mode os.FileMode) error {
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return errkind.OfDisk("make layer store", err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return errkind.OfDisk("make layer store", err)
	}
	return nil
}

// makeBase makes the folder of MountOptions.MountPoints. Nothing is mounted upon these themselves: they are the lowest
// layer of mounts whose changes go elsewhere.
func (s *Store) makeBase() error {
	base := filepath.Join(s.root, baseDir)
	for _, dir := range []string{"", "dev", "etc", "proc", "sys"} {
		if err := makeDir(filepath.Join(base, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		if err := os.WriteFile(filepath.Join(base, "etc", name), nil, 0o644); err != nil {
			return errkind.OfDisk("make layer store", err)
		}
	}
	return nil
}

// read finds the published layers. A folder that is none is thrown away.
func (s *Store) read() error {
	names, err := readNames(filepath.Join(s.root, chainDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		dir := filepath.Join(s.root, chainDir, name)
		rec, err := readRecord(dir)
		if err != nil || rec.ChainID.Encoded() != name {
			if err := s.trash.put(dir); err != nil {
				return err
			}
			continue
		}
		_, err = os.Lstat(filepath.Join(dir, settledFile))
		rec.usage = &usage{dir: s.dir(rec.ChainID)}
		s.layers[rec.ChainID] = &entry{record: rec, suspect: err != nil && rec.Boot != s.boot}
		if err != nil {
			s.young[rec.ChainID] = true
		}
	}
	// A layer whose lower one is gone is of no use.
	for chain := range s.layers {
		for at := chain; at != ""; at = s.layers[at].Parent {
			if s.layers[at] == nil || s.layers[at].suspect {
				s.layers[chain].suspect = true
				break
			}
		}
	}
	for chain, e := range s.layers {
		if e.suspect {
			delete(s.young, chain)
		}
	}
	return nil
}

func readRecord(dir string) (record, error) {
	var rec record
	f, err := os.Open(filepath.Join(dir, recordFile))
	if err != nil {
		return rec, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return rec, err
	}
	if info.Size() > maxRecord {
		return rec, errkind.New(errkind.Internal, "layer record %s is damaged", f.Name())
	}
	if err := json.NewDecoder(f).Decode(&rec); err != nil {
		return rec, err
	}
	if rec.ChainID.Validate() != nil || rec.DiffID.Validate() != nil || (rec.Parent != "" && rec.Parent.Validate() != nil) {
		return rec, errkind.New(errkind.Internal, "layer record %s is damaged", f.Name())
	}
	return rec, nil
}

// draft is a layer in the making: a folder in tmp that becomes a published one by a rename.
type draft struct {
	store  *Store
	path   string
	recipe *recipeWriter
	file   *os.File
}

func (s *Store) newDraft() (*draft, error) {
	d := &draft{store: s, path: filepath.Join(s.root, tempDir, id.New())}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return nil, errkind.OfDisk("make layer", err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, recipeFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		d.drop()
		return nil, errkind.OfDisk("make layer", err)
	}
	d.file, d.recipe = f, newRecipeWriter(f)
	return d, nil
}

// drop throws the draft away. It does nothing after publish.
func (d *draft) drop() {
	if d.file != nil {
		_ = d.file.Close()
		d.file = nil
	}
	if d.path != "" {
		_ = d.store.trash.put(d.path)
		d.path = ""
	}
}

// publish gives the draft its name. If the layer exists already, that one is returned and the draft thrown away.
func (d *draft) publish(rec record) (Layer, error) {
	s := d.store
	rec.ChainID, rec.Boot = chainID(rec.Parent, rec.DiffID), s.boot
	if err := d.recipe.close(); err != nil {
		return Layer{}, errkind.OfDisk("write layer", err)
	}
	if err := d.file.Close(); err != nil {
		return Layer{}, errkind.OfDisk("write layer", err)
	}
	d.file = nil
	raw, err := json.Marshal(rec)
	if err != nil {
		return Layer{}, err
	}
	if len(raw) > maxRecord {
		return Layer{}, errkind.New(errkind.Invalid, "layer archive replaces its own entries %d times, which is too often", len(rec.Shadows))
	}
	if err := os.WriteFile(filepath.Join(d.path, recordFile), raw, 0o600); err != nil {
		return Layer{}, errkind.OfDisk("write layer", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.layers[rec.ChainID]; old != nil {
		if !old.suspect {
			old.fresh = true
			return old.Layer, nil
		}
		if err := s.discard(rec.ChainID); err != nil {
			return Layer{}, err
		}
	}
	if rec.Parent != "" {
		if _, err := s.find(rec.Parent); err != nil {
			return Layer{}, err
		}
	}
	if err := os.Rename(d.path, s.dir(rec.ChainID)); err != nil {
		return Layer{}, errkind.OfDisk("publish layer", err)
	}
	d.path = ""
	rec.usage = &usage{dir: s.dir(rec.ChainID)}
	s.layers[rec.ChainID] = &entry{record: rec, fresh: true}
	s.young[rec.ChainID] = true
	return rec.Layer, nil
}

// trash deletes folders without anybody waiting: put renames, a goroutine removes.
type trash struct {
	dir string
	wg  sync.WaitGroup
}

// put moves path into the trash. A path that does not exist is no error.
func (t *trash) put(path string) error {
	to := filepath.Join(t.dir, id.New())
	if err := os.Rename(path, to); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("move to the trash: %w", err)
	}
	t.wg.Go(func() { remove(to) })
	return nil
}

// remove deletes a folder in which a process whose daemon was killed may still write, until its successor ends it. What stays
// all the same is removed by the next Open.
func remove(dir string) {
	for range 50 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sweep moves everything in dir into the trash, and removes what the trash already held.
func (t *trash) sweep(dir string) error {
	old, err := readNames(t.dir)
	if err != nil {
		return err
	}
	for _, name := range old {
		t.wg.Go(func() { remove(filepath.Join(t.dir, name)) })
	}
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.put(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (t *trash) wait() { t.wg.Wait() }

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// bootID changes with each start of the machine (/proc/sys/kernel/random/boot_id).
func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot identifier: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
