package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pier/lib/errkind"
)

// maxKey and maxRow bound what a table takes. bbolt's own limit for keys is 32 KiB; a row beyond 16 MiB is a mistake.
const (
	maxKey = 1 << 10
	maxRow = 16 << 20
)

// Table is a set of rows of one type, stored as JSON under string keys. Tables are cheap views: make as many as you
// like of the same name. It is safe for concurrent use, and a row once returned belongs to the caller.
type Table[T any] struct {
	db   *DB
	name []byte
}

// NewTable returns the table called name of db. The table comes into being with its first row.
func NewTable[T any](db *DB, name string) *Table[T] {
	return &Table[T]{db: db, name: []byte(name)}
}

// Get returns the row under key. NotFound where there is none.
func (t *Table[T]) Get(key string) (T, error) {
	var row T
	err := t.db.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(t.name)
		if b == nil {
			return errkind.New(errkind.NotFound, "no record %s in %s", key, t.name)
		}
		raw := b.Get([]byte(key))
		if raw == nil {
			return errkind.New(errkind.NotFound, "no record %s in %s", key, t.name)
		}
		return t.decode(key, raw, &row)
	})
	return row, err
}

// All returns every row by key. A table never written to has none.
func (t *Table[T]) All() (map[string]T, error) {
	rows := map[string]T{}
	err := t.db.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(t.name)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, raw []byte) error {
			var row T
			if err := t.decode(string(k), raw, &row); err != nil {
				return err
			}
			rows[string(k)] = row
			return nil
		})
	})
	return rows, err
}

// Put stores row under key, replacing what was there. When it returns nil the row is on the disk (unless the DB is
// Volatile). Writers that wait at the same time share one sync. On any error the table is as before: Exhausted for a
// full disk, Canceled where ctx ended before the write began, Invalid for a key or row beyond the limits.
func (t *Table[T]) Put(ctx context.Context, key string, row T) error {
	c, err := t.Set(key, row)
	if err != nil {
		return err
	}
	return t.db.commit(ctx, c.apply)
}

// Delete removes the row under key. A key without row is no error. Durability and errors are those of Put.
func (t *Table[T]) Delete(ctx context.Context, key string) error {
	return t.db.commit(ctx, t.Unset(key).apply)
}

// Change is a row to be written or removed by Commit.
type Change struct{ apply func(*bolt.Tx) error }

// Set is the change that Put makes. Invalid for a key or row beyond the limits.
func (t *Table[T]) Set(key string, row T) (Change, error) {
	if key == "" || len(key) > maxKey {
		return Change{}, errkind.New(errkind.Invalid, "write record in %s: key of %d bytes, allowed are 1 to %d", t.name, len(key), maxKey)
	}
	raw, err := json.Marshal(row)
	if err != nil {
		return Change{}, errkind.New(errkind.Invalid, "write record %s in %s: %w", key, t.name, err)
	}
	if len(raw) > maxRow {
		return Change{}, errkind.New(errkind.Invalid, "write record %s in %s: %d bytes, more than %d", key, t.name, len(raw), maxRow)
	}
	return Change{func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(t.name)
		if err != nil {
			return err
		}
		return b.Put([]byte(key), raw)
	}}, nil
}

// Unset is the change that Delete makes.
func (t *Table[T]) Unset(key string) Change {
	return Change{func(tx *bolt.Tx) error {
		b := tx.Bucket(t.name)
		if b == nil {
			return nil
		}
		return b.Delete([]byte(key))
	}}
}

// Commit makes all changes, of any tables of db, or none: no crash and no error leaves some of them. They are made in
// order, so the last one of a key counts. Otherwise it is as Put.
func (db *DB) Commit(ctx context.Context, changes ...Change) error {
	return db.commit(ctx, func(tx *bolt.Tx) error {
		for _, c := range changes {
			if err := c.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *Table[T]) decode(key string, raw []byte, row *T) error {
	if err := json.Unmarshal(raw, row); err != nil {
		return errkind.New(errkind.Internal, "record %s in %s is damaged: %w", key, t.name, err)
	}
	return nil
}

func checkRows(ctx context.Context, tx *bolt.Tx) error {
	var found []error
	err := tx.ForEach(func(table []byte, b *bolt.Bucket) error {
		return b.ForEach(func(k, raw []byte) error {
			if !json.Valid(raw) {
				found = append(found, fmt.Errorf("record %s in %s is not JSON", k, table))
			}
			return ctx.Err()
		})
	})
	return errors.Join(append(found, err)...)
}
