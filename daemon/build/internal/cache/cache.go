// Package cache remembers which layers a build step made, so that the same step need not run again.
//
//	table build-cache    <key> -> Entry
//
// A key says all that a result depends on; the solver makes it. Every entry comes from a step that ran on this machine:
// images that are loaded or pulled never become entries, whatever their history claims. An entry holds its layers against
// garbage collection, and is gone when a layer is.
//
// Locks: Cache.mu guards the maps and is never held across disk access.
//
// Start reading at Cache.
package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"pier/daemon/image/layer"
	"pier/daemon/store/record"
	"pier/lib/errkind"
)

// Entry is the result of one step.
type Entry struct {
	// Chains are the chain IDs of its outputs, "" for an empty file system.
	Chains []digest.Digest `json:"chains"`
	// Created is when the step ended.
	Created time.Time `json:"created"`
	// Used is when a build last took it; not saved with every use.
	Used time.Time `json:"used"`
	// Size is the content that the step added, in bytes.
	Size int64 `json:"size"`
	// Name is the step in words.
	Name string `json:"name"`
}

// Cache is the set of entries. It is safe for concurrent use.
type Cache struct {
	table  *record.Table[Entry]
	layers *layer.Store

	mu      sync.Mutex
	entries map[string]Entry
	unsaved map[string]bool
	busy    map[string]chan struct{} // keys that somebody works on; closed when done
}

// Open reads the entries and takes their holds. Entries whose layers are gone are dropped.
func Open(ctx context.Context, db *record.DB, layers *layer.Store) (*Cache, error) {
	c := &Cache{table: record.NewTable[Entry](db, "build-cache"), layers: layers, unsaved: map[string]bool{}, busy: map[string]chan struct{}{}}
	var err error
	if c.entries, err = c.table.All(); err != nil {
		return nil, err
	}
	if c.entries == nil {
		c.entries = map[string]Entry{}
	}
	for key, e := range c.entries {
		if c.hold(key, e) == nil {
			continue
		}
		delete(c.entries, key)
		layers.Release(owner(key))
		if err := c.table.Delete(ctx, key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func owner(key string) string { return "build-cache/" + key }

func (c *Cache) hold(key string, e Entry) error {
	for _, chain := range e.Chains {
		if chain == "" {
			continue
		}
		if err := c.layers.Trust(chain); err != nil {
			return err
		}
		if err := c.layers.Hold(owner(key), chain); err != nil {
			return err
		}
	}
	return nil
}

// Get returns the entry of key if its layers are all there, held for holder too.
func (c *Cache) Get(key, holder string) (Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return Entry{}, false
	}
	for _, chain := range e.Chains {
		if c.layers.Hold(holder, chain) != nil {
			delete(c.entries, key) // its row goes with the next Prune or Open
			return Entry{}, false
		}
	}
	e.Used = time.Now()
	c.entries[key] = e
	return e, true
}

// Add remembers e under key. It is on the disk after the next Save.
func (c *Cache) Add(key string, e Entry) error {
	c.layers.Release(owner(key))
	for _, chain := range e.Chains {
		if err := c.layers.Hold(owner(key), chain); err != nil {
			c.layers.Release(owner(key))
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[key] = e
	c.unsaved[key] = true
	return nil
}

// Save writes what was added, once for all that wait. It syncs the layers first.
func (c *Cache) Save(ctx context.Context) error {
	c.mu.Lock()
	fresh := make(map[string]Entry, len(c.unsaved))
	for key := range c.unsaved {
		if e, ok := c.entries[key]; ok {
			fresh[key] = e
		}
	}
	clear(c.unsaved)
	c.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	if err := c.layers.Sync(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for key, e := range fresh {
		wg.Go(func() {
			if err := c.table.Put(ctx, key, e); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// Lock waits until nobody else works on key, or for ctx, and then reserves it until unlock is called.
func (c *Cache) Lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		c.mu.Lock()
		wait, taken := c.busy[key]
		if !taken {
			done := make(chan struct{})
			c.busy[key] = done
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, key)
				c.mu.Unlock()
				close(done)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// All returns the entries by key. The map is the caller's.
func (c *Cache) All() map[string]Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.entries)
}

// Size is the content of all entries, in bytes.
func (c *Cache) Size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var total int64
	for _, e := range c.entries {
		total += e.Size
	}
	return total
}

// Prune forgets entries, least recently used first, until at most keep bytes of content are left, and returns the keys and
// bytes. The layers go with the store's next Collect.
func (c *Cache) Prune(ctx context.Context, keep int64) (keys []string, freed int64, err error) {
	c.mu.Lock()
	var total int64
	for _, e := range c.entries {
		total += e.Size
	}
	byAge := slices.SortedFunc(maps.Keys(c.entries), func(a, b string) int {
		return c.entries[a].LastUse().Compare(c.entries[b].LastUse())
	})
	for _, key := range byAge {
		if keep > 0 && total <= keep {
			break
		}
		size := c.entries[key].Size
		total -= size
		freed += size
		keys = append(keys, key)
		delete(c.entries, key)
		delete(c.unsaved, key)
	}
	c.mu.Unlock()
	for _, key := range keys {
		c.layers.Release(owner(key))
		if err := c.table.Delete(ctx, key); err != nil && !errkind.Is(err, errkind.NotFound) {
			return keys, freed, err
		}
	}
	return keys, freed, nil
}

// LastUse is when the entry was made or taken, whichever is later.
func (e Entry) LastUse() time.Time {
	if e.Used.After(e.Created) {
		return e.Used
	}
	return e.Created
}
