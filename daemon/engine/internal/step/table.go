package step

import (
	"context"
	"sync"

	"pier/api/shim"
)

// table holds the build steps that run.
type table struct {
	mu   sync.Mutex // guards byID
	byID map[string]chan shim.Exit
}

func newTable() *table { return &table{byID: map[string]chan shim.Exit{}} }

func (t *table) add(id string) <-chan shim.Exit {
	ch := make(chan shim.Exit, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[id] = ch
	return ch
}

func (t *table) has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.byID[id]
	return ok
}

func (t *table) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
}

func (t *table) exited(x shim.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ch := t.byID[x.ID]; ch != nil {
		select {
		case ch <- x:
		default: // told twice
		}
	}
}

// wait returns how the step ended.
func wait(ctx context.Context, ch <-chan shim.Exit) (shim.Exit, error) {
	select {
	case x := <-ch:
		return x, nil
	case <-ctx.Done():
		return shim.Exit{}, ctx.Err()
	}
}
