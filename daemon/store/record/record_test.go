package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"pier/kernel/mount"
	"pier/lib/errkind"
)

type row struct {
	Name string
	N    int
}

func openDB(t testing.TB, path string, o Options) *DB {
	t.Helper()
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestTable(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "db")
	for _, volatile := range []bool{false, true} {
		db := openDB(t, path, Options{Volatile: volatile})
		rows := NewTable[row](db, fmt.Sprintf("rows-%v", volatile))
		if _, err := rows.Get("a"); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("Get = %v", err)
		}
		if all, err := rows.All(); err != nil || len(all) != 0 {
			t.Errorf("All = %v, %v", all, err)
		}
		for i, key := range []string{"a", "b", "a"} {
			if err := rows.Put(ctx, key, row{key, i}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := rows.Put(ctx, "c", row{}); !errkind.Is(err, errkind.Unavailable) {
			t.Errorf("after Close: %v", err)
		}
		db = openDB(t, path, Options{Volatile: volatile})
		rows = NewTable[row](db, fmt.Sprintf("rows-%v", volatile))
		if r, err := rows.Get("a"); err != nil || r != (row{"a", 2}) {
			t.Errorf("Get = %v, %v", r, err)
		}
		if err := rows.Delete(ctx, "a"); err != nil {
			t.Error(err)
		}
		if err := rows.Delete(ctx, "a"); err != nil {
			t.Error(err)
		}
		if all, err := rows.All(); err != nil || len(all) != 1 || all["b"] != (row{"b", 1}) {
			t.Errorf("All = %v, %v", all, err)
		}
		if err := db.Check(ctx); err != nil {
			t.Error(err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		_ = db.Close()
	}
}

func TestBadRows(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "db"), Options{})
	ctx := context.Background()
	for key, value := range map[string]any{"": 1, strings.Repeat("k", maxKey+1): 1, "unencodable": func() {}, "large": strings.Repeat("x", maxRow)} {
		if err := NewTable[any](db, "t").Put(ctx, key, value); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("Put(%.20s) = %v", key, err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := NewTable[int](db, "t").Put(canceled, "k", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v", err)
	}
	if err := NewTable[string](db, "t").Put(ctx, "k", "a string"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewTable[row](db, "t").Get("k"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Get of another type = %v", err)
	}
}

func TestCommitIsOneStep(t *testing.T) {
	ctx := context.Background()
	db := openDB(t, filepath.Join(t.TempDir(), "db"), Options{})
	people, counts := NewTable[row](db, "people"), NewTable[int](db, "counts")
	a, err := people.Set("a", row{"a", 1})
	if err != nil {
		t.Fatal(err)
	}
	n, err := counts.Set("all", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(ctx, a, n, people.Unset("none")); err != nil {
		t.Fatal(err)
	}
	failing := Change{func(*bolt.Tx) error { return errors.New("no") }}
	if err := db.Commit(ctx, people.Unset("a"), failing); err == nil {
		t.Error("no error")
	}
	if r, err := people.Get("a"); err != nil || r.N != 1 {
		t.Errorf("half of a failed commit was made: %v, %v", r, err)
	}
	if c, err := counts.Get("all"); err != nil || c != 1 {
		t.Errorf("count = %v, %v", c, err)
	}
}

// TestGroupCommit: writers that come together share their syncs, and each finds its row written.
func TestGroupCommit(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "db"), Options{})
	rows := NewTable[row](db, "rows")
	before := db.bolt.Stats().TxStats
	tx, err := db.bolt.Begin(true) // the first one's commit takes long
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() int {
		db.mu.Lock()
		defer db.mu.Unlock()
		if !db.leading {
			return -1
		}
		return len(db.pending)
	}
	const writers = 200
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			key := fmt.Sprint(i)
			if err := rows.Put(context.Background(), key, row{key, i}); err != nil {
				t.Error(err)
			}
			if r, err := rows.Get(key); err != nil || r.N != i {
				t.Errorf("Get(%s) = %v, %v", key, r, err)
			}
		})
		for waiting() != i { // the first commits, the others wait
			time.Sleep(10 * time.Microsecond)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	after := db.bolt.Stats().TxStats
	commits := after.GetWrite() - before.GetWrite()
	t.Logf("%d writers, %d page writes", writers, commits)
	if commits >= writers/2 { // two commits
		t.Errorf("%d page writes for %d writers", commits, writers)
	}
	if all, err := rows.All(); err != nil || len(all) != writers {
		t.Errorf("%d rows, %v", len(all), err)
	}
}

// TestWithdrawal: a writer that gives up while it waits has not written, one that is too late has.
func TestWithdrawal(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "db"), Options{})
	rows := NewTable[row](db, "rows")
	tx, err := db.bolt.Begin(true) // a commit that does not end
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- rows.Put(context.Background(), "first", row{}) }()
	for leading := false; !leading; time.Sleep(time.Millisecond) {
		db.mu.Lock()
		leading = db.leading && len(db.pending) == 0
		db.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := rows.Put(ctx, "second", row{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put = %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if all, _ := rows.All(); len(all) != 1 {
		t.Errorf("rows = %v", all)
	}
}

func TestMigrations(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "db")
	db := openDB(t, path, Options{})
	if err := NewTable[map[string]string](db, "old").Put(ctx, "k", map[string]string{"Title": "x"}); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	rename := Migration{"rename a table and a field", func(tx *Tx) error {
		err := tx.Each("old", func(key string, raw json.RawMessage) error {
			return tx.Put("new", key, json.RawMessage(strings.Replace(string(raw), "Title", "Name", 1)))
		})
		if err != nil {
			return err
		}
		return tx.Drop("old")
	}}
	count := Migration{"count", func(tx *Tx) error {
		return tx.Each("new", func(key string, raw json.RawMessage) error {
			return tx.Put("new", key, json.RawMessage(`{"Name":"x","N":7}`))
		})
	}}
	broken := Migration{"fail", func(tx *Tx) error {
		_ = tx.Drop("new")
		return errors.New("broken")
	}}
	if _, err := Open(path, Options{Migrations: []Migration{rename, broken}}); err == nil || !strings.Contains(err.Error(), "migration 2 (fail): broken") {
		t.Fatalf("error = %v", err)
	}
	for range 2 { // the second time nothing is left to do
		db = openDB(t, path, Options{Migrations: []Migration{rename, count}})
		if r, err := NewTable[row](db, "new").Get("k"); err != nil || r != (row{"x", 7}) {
			t.Errorf("row = %v, %v", r, err)
		}
		_ = db.Close()
	}
	if _, err := Open(path, Options{Migrations: []Migration{rename}}); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("an older Pier: %v", err)
	}
	// A new file is of the newest version; nothing runs on it.
	db = openDB(t, path+"-fresh", Options{Migrations: []Migration{broken}})
	_ = db.Close()
	openDB(t, path+"-fresh", Options{Migrations: []Migration{broken}})
}

func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	openDB(t, path, Options{})
	if _, err := Open(path, Options{}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("error = %v", err)
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("rubbish ", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil {
		t.Error("rubbish was opened")
	}
	db := openDB(t, path, Options{Volatile: true})
	if err := NewTable[int](db, "t").Put(context.Background(), "k", 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}

// TestFullDisk: a write that does not fit says so and changes nothing; what is there stays, also after a restart.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	f, err := mount.Filesystem("tmpfs", map[string]string{"size": "2m"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Attach(f, dir); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	defer func() {
		if err := mount.Unmount(dir, true); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "db")
	db := openDB(t, path, Options{})
	rows := NewTable[string](db, "rows")
	if err := rows.Put(ctx, "kept", "value"); err != nil {
		t.Fatal(err)
	}
	written := 0
	for ; ; written++ {
		err = rows.Put(ctx, fmt.Sprint(written), strings.Repeat("x", 50_000))
		if err != nil {
			break
		}
	}
	if !errkind.Is(err, errkind.Exhausted) || written < 5 {
		t.Fatalf("after %d rows: %v", written, err)
	}
	if err := rows.Put(ctx, "more", strings.Repeat("x", 500_000)); !errkind.Is(err, errkind.Exhausted) {
		t.Errorf("error = %v", err)
	}
	check := func(db *DB) {
		t.Helper()
		all, err := NewTable[string](db, "rows").All()
		if err != nil || len(all) != written+1 || all["kept"] != "value" {
			t.Errorf("%d rows, want %d, %v", len(all), written+1, err)
		}
		if err := db.Check(ctx); err != nil {
			t.Error(err)
		}
	}
	check(db)
	// Space that rows give back can be used again.
	for i := range written {
		if err := rows.Delete(ctx, fmt.Sprint(i)); err != nil {
			t.Logf("delete on the full disk: %v", err)
			break
		}
		written--
	}
	_ = db.Close()
	db = openDB(t, path, Options{})
	check(db)
	_ = db.Close()
}

func BenchmarkPut(b *testing.B) {
	for name, o := range map[string]Options{"durable": {}, "volatile": {Volatile: true}} {
		b.Run(name, func(b *testing.B) {
			rows := NewTable[row](openDB(b, filepath.Join(b.TempDir(), "db"), o), "rows")
			for b.Loop() {
				if err := rows.Put(context.Background(), "key", row{"name", 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
