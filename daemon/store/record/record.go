package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"pier/lib/errkind"
)

// lockWait is how long Open waits for another process to let go of the file. A pierd that is just ending needs a
// moment; one that runs is a mistake that should be told at once.
const lockWait = 2 * time.Second

// Options tune a DB. The zero value is a durable file without migrations.
type Options struct {
	// Volatile drops every sync: rows survive the death of the process, not a power cut. A file that a power cut left
	// unreadable is set aside (Path + ".bad") and a new one begun. For rows that a reboot makes meaningless.
	Volatile bool
	// Migrations bring an older file to this version of Pier, in order. The schema version of a file is the number of
	// migrations that have run on it; a new file starts with all of them counted as done.
	Migrations []Migration
}

// DB is one open file of tables. It is safe for concurrent use.
type DB struct {
	bolt *bolt.DB
	path string

	mu      sync.Mutex // guards the fields that follow
	pending []*write   // waiting for the next commit
	leading bool       // a writer is committing and will take pending next
	closed  bool
}

// Open opens or makes the file at path (its folder must exist; mode 0600) and runs the migrations that it lacks, all in
// one transaction. Errors: Conflict where another process has the file open, Unsupported where a newer Pier wrote it,
// Exhausted where the disk is full, Internal where it is damaged.
func Open(path string, o Options) (*DB, error) {
	db, err := open(path, o)
	if err != nil && o.Volatile && damaged(err) {
		if err := os.Rename(path, path+".bad"); err != nil {
			return nil, fmt.Errorf("set aside damaged records %s: %w", path, err)
		}
		return open(path, o)
	}
	return db, err
}

func open(path string, o Options) (*DB, error) {
	_, statErr := os.Stat(path)
	b, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:        lockWait,
		NoSync:         o.Volatile,
		NoGrowSync:     o.Volatile,
		NoFreelistSync: true, // rebuilt at Open; saves a page write in each commit
		FreelistType:   bolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, errkind.New(errkind.Conflict, "open records %s: another pierd has the file open; stop it or use another folder", path)
	}
	if err != nil {
		return nil, errkind.OfDisk(fmt.Sprintf("open records %s", path), err)
	}
	db := &DB{bolt: b, path: path}
	if err := db.migrate(o.Migrations, errors.Is(statErr, fs.ErrNotExist)); err != nil {
		_ = b.Close()
		return nil, err
	}
	if !o.Volatile {
		if err := syncDir(filepath.Dir(path)); err != nil {
			_ = b.Close()
			return nil, err
		}
	}
	return db, nil
}

// Close waits for the running commit, refuses later writes and releases the file.
func (db *DB) Close() error {
	db.mu.Lock()
	db.closed = true
	db.mu.Unlock()
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("close records %s: %w", db.path, err)
	}
	return nil
}

// Path is the file's name, as given to Open.
func (db *DB) Path() string { return db.path }

// Check reads the whole file and reports damage: pages reached twice or not at all, keys out of order, rows that are not
// JSON. It returns nil for a sound file. Writers wait meanwhile only for memory, not for Check.
func (db *DB) Check(ctx context.Context) error {
	return db.bolt.View(func(tx *bolt.Tx) error {
		var found []error
		for err := range tx.Check() { // drained to the end: its goroutine would leak otherwise
			found = append(found, err)
		}
		if len(found) == 0 {
			found = append(found, checkRows(ctx, tx))
		}
		if err := errors.Join(found...); err != nil {
			return errkind.New(errkind.Internal, "check records %s: %w", db.path, err)
		}
		return nil
	})
}

func damaged(err error) bool {
	return errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
