package record

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pier/lib/errkind"
)

// metaTable holds the schema version. No other table may have its name.
const (
	metaTable  = "_schema"
	versionKey = "version"
)

// Migration is one step from an older schema to the next. Never change or reorder one that was released.
type Migration struct {
	// Name says in a few words what it does; it appears in errors.
	Name string
	// Apply changes rows. An error undoes this and all earlier steps of the same Open.
	Apply func(*Tx) error
}

// Tx is what a migration works on: rows as raw JSON, for their Go types may be gone. It is valid during Apply only.
type Tx struct{ bolt *bolt.Tx }

// Each calls f for every row of table, in the order of keys. f may call Put and Delete for the row that it is given.
func (t *Tx) Each(table string, f func(key string, raw json.RawMessage) error) error {
	b := t.bolt.Bucket([]byte(table))
	if b == nil {
		return nil
	}
	// The rows are copied first: a bucket must not change under its own cursor.
	type row struct {
		key string
		raw json.RawMessage
	}
	var rows []row
	_ = b.ForEach(func(k, raw []byte) error {
		rows = append(rows, row{string(k), append(json.RawMessage(nil), raw...)})
		return nil
	})
	for _, r := range rows {
		if err := f(r.key, r.raw); err != nil {
			return err
		}
	}
	return nil
}

// Put stores raw under key.
func (t *Tx) Put(table, key string, raw json.RawMessage) error {
	b, err := t.bolt.CreateBucketIfNotExists([]byte(table))
	if err != nil {
		return err
	}
	return b.Put([]byte(key), raw)
}

// Delete removes the row under key, if there is one.
func (t *Tx) Delete(table, key string) error {
	if b := t.bolt.Bucket([]byte(table)); b != nil {
		return b.Delete([]byte(key))
	}
	return nil
}

// Drop removes a whole table, if it exists.
func (t *Tx) Drop(table string) error {
	if t.bolt.Bucket([]byte(table)) == nil {
		return nil
	}
	return t.bolt.DeleteBucket([]byte(table))
}

// migrate runs the steps that the file lacks. fresh files get the newest version at once.
func (db *DB) migrate(steps []Migration, fresh bool) error {
	version := 0
	err := db.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(metaTable))
		if b == nil {
			return nil
		}
		return json.Unmarshal(b.Get([]byte(versionKey)), &version)
	})
	if err != nil {
		return errkind.New(errkind.Internal, "open records %s: schema version unreadable: %w", db.path, err)
	}
	if version > len(steps) {
		return errkind.New(errkind.Unsupported, "open records %s: schema version %d was written by a newer Pier, this one knows %d; upgrade Pier",
			db.path, version, len(steps))
	}
	if version == len(steps) && !fresh {
		return nil
	}
	err = db.bolt.Update(func(tx *bolt.Tx) error {
		if !fresh {
			for i, step := range steps[version:] {
				if err := step.Apply(&Tx{tx}); err != nil {
					return fmt.Errorf("migration %d (%s): %w", version+i+1, step.Name, err)
				}
			}
		}
		raw, _ := json.Marshal(len(steps))
		return (&Tx{tx}).Put(metaTable, versionKey, raw)
	})
	if err != nil {
		return errkind.OfDisk("open records "+db.path, err)
	}
	return nil
}
