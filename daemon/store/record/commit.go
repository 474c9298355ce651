package record

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pier/lib/errkind"
)

// write is one writer's wish. done receives exactly one result, unless the writer withdrew first.
type write struct {
	apply func(*bolt.Tx) error
	done  chan error
}

// commit runs apply in a transaction that it may share with other writers.
//
// The first writer to come leads: it commits at once, alone. Writers that arrive while a commit runs queue up, and the
// leader takes the whole queue as its next transaction, so that n waiting writers cost one sync. apply touches only
// keys of its own call and cannot fail but for the disk, hence a failure is everybody's and nothing is half written.
func (db *DB) commit(ctx context.Context, apply func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write records %s: %w", db.path, err)
	}
	w := &write{apply: apply, done: make(chan error, 1)}
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return errkind.New(errkind.Unavailable, "write records %s: the file is closed", db.path)
	}
	db.pending = append(db.pending, w)
	lead := !db.leading
	if lead {
		db.leading = true
	}
	db.mu.Unlock()
	if lead {
		db.lead(w)
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	if db.withdraw(w) {
		return fmt.Errorf("write records %s: %w", db.path, ctx.Err())
	}
	return <-w.done // already on its way to the disk: tell what became of it
}

// lead commits the queue until w itself is done, then hands the rest over to a goroutine, so that a writer never works
// for the ones that came after it.
func (db *DB) lead(w *write) {
	db.commitQueue()
	db.mu.Lock()
	more := len(db.pending) > 0
	if !more {
		db.leading = false
	}
	db.mu.Unlock()
	if more {
		go func() {
			for db.commitQueue() {
			}
		}()
	}
}

// commitQueue commits what is queued now. It reports whether there was anything; if not, leadership is given up.
func (db *DB) commitQueue() bool {
	db.mu.Lock()
	batch := db.pending
	db.pending = nil
	if len(batch) == 0 {
		db.leading = false
	}
	db.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	err := db.bolt.Update(func(tx *bolt.Tx) error {
		for _, w := range batch {
			if err := w.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = errkind.OfDisk("write records "+db.path, err)
	}
	for _, w := range batch {
		w.done <- err
	}
	return true
}

// withdraw takes w out of the queue. It reports false where a commit already has it.
func (db *DB) withdraw(w *write) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i, p := range db.pending {
		if p == w {
			db.pending = append(db.pending[:i], db.pending[i+1:]...)
			return true
		}
	}
	return false
}
