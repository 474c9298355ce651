package solve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"pier/daemon/build/internal/fileop"
	"pier/kernel/fsinfo"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// CacheMounts are the directories of RUN --mount=type=cache. They live below one folder, each under the hash of its
// identifier and of what it began with, so that no identifier names a path:
//
//	<hash>-<n>/data    n counts the copies that sharing=private makes
//
// It is safe for concurrent use.
type CacheMounts struct {
	dir string

	mu   sync.Mutex // guards the fields that follow
	used map[string]*cacheUse
}

// cacheUse is a directory that steps have mounted.
type cacheUse struct {
	users  int
	locked bool
	free   chan struct{} // closed when a user leaves
}

// OpenCacheMounts returns the cache mounts below dir, which is made.
func OpenCacheMounts(dir string) (*CacheMounts, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &CacheMounts{dir: dir, used: map[string]*cacheUse{}}, nil
}

// cacheName is the name of the directory for an identifier that begins as a copy of the layers from.
func cacheName(id string, from digest.Digest) string {
	sum := sha256.Sum256([]byte(id + "\x00" + from.String()))
	return hex.EncodeToString(sum[:16])
}

// acquire returns the open directory called name, filled from from where it is new, and a function that gives it back.
// Locked waits until nobody else has it; private takes a copy that nobody has.
func (c *CacheMounts) acquire(ctx context.Context, r *run, name string, from Result, sharing pb.CacheSharingOpt) (*os.File, func(), error) {
	name, err := c.reserve(ctx, name, sharing)
	if err != nil {
		return nil, nil, err
	}
	f, err := c.open(ctx, r, name, from)
	if err != nil {
		c.leave(name)
		return nil, nil, err
	}
	return f, func() {
		_ = f.Close()
		c.leave(name)
	}, nil
}

// reserve picks the directory and counts the caller as a user of it.
func (c *CacheMounts) reserve(ctx context.Context, hash string, sharing pb.CacheSharingOpt) (string, error) {
	for n := 0; ; {
		name := fmt.Sprintf("%s-%d", hash, n)
		c.mu.Lock()
		u := c.used[name]
		exclusive := sharing != pb.CacheSharingOpt_SHARED
		if u == nil || !exclusive && !u.locked {
			if u == nil {
				u = &cacheUse{free: make(chan struct{})}
				c.used[name] = u
			}
			u.users++
			u.locked = exclusive
			c.mu.Unlock()
			return name, nil
		}
		wait := u.free
		c.mu.Unlock()
		if sharing == pb.CacheSharingOpt_PRIVATE {
			n++
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (c *CacheMounts) leave(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.used[name]
	u.users--
	close(u.free)
	u.free = make(chan struct{})
	if u.users == 0 {
		delete(c.used, name)
	}
}

// open opens the directory, filling it first where it is new.
func (c *CacheMounts) open(ctx context.Context, r *run, name string, from Result) (*os.File, error) {
	data := filepath.Join(c.dir, name, "data")
	f, err := openDir(data)
	if err == nil || !os.IsNotExist(err) {
		return f, err
	}
	// Filled beside its place and renamed, so that a crash leaves no half-filled one.
	temp, err := os.MkdirTemp(c.dir, "new-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := os.Mkdir(filepath.Join(temp, "data"), 0o755); err != nil {
		return nil, err
	}
	if from.Chain != "" {
		if err := fill(ctx, r, filepath.Join(temp, "data"), from); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(temp, filepath.Join(c.dir, name)); err != nil && !os.IsExist(err) && !strings.Contains(err.Error(), "not empty") {
		return nil, err
	}
	return openDir(data)
}

func openDir(path string) (*os.File, error) {
	root, err := fsroot.Open(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile("/", os.O_RDONLY|fsroot.ODirectory, 0)
}

func fill(ctx context.Context, r *run, dir string, from Result) error {
	src, done, err := r.open(from)
	if err != nil {
		return err
	}
	defer done()
	root, err := fsroot.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fileop.Copy(ctx, src, "/", root, "/", fileop.CopyOptions{DirContents: true, CreateDest: true})
}

// Prune removes the directories that no step has mounted and returns their names and size in bytes.
func (c *CacheMounts) Prune(ctx context.Context) (names []string, freed int64, err error) {
	all, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return names, freed, err
		}
		size, ok, err := c.remove(e.Name())
		if err != nil {
			return names, freed, errkind.New(errkind.Internal, "remove cache mount %s: %w", e.Name(), err)
		}
		if ok {
			names, freed = append(names, e.Name()), freed+size
		}
	}
	return names, freed, nil
}

func (c *CacheMounts) remove(name string) (int64, bool, error) {
	path := filepath.Join(c.dir, name)
	c.mu.Lock()
	if c.used[name] != nil || strings.HasPrefix(name, "new-") {
		c.mu.Unlock()
		return 0, false, nil
	}
	gone := filepath.Join(c.dir, "new-gone-"+name)
	err := os.Rename(path, gone)
	c.mu.Unlock()
	if err != nil {
		return 0, false, err
	}
	size, _ := fsinfo.Usage(gone)
	return size, true, os.RemoveAll(gone)
}
