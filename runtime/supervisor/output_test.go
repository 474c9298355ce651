package supervisor

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pier/api/shim"
	"pier/kernel/pipe"
	"pier/runtime/logging"
	"pier/runtime/supervisor/internal/journal"
)

func openLog(t *testing.T, dir string) *logging.File {
	t.Helper()
	log, err := logging.Open(shim.Log{Path: filepath.Join(dir, "log")}, logging.NewPacker(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A supervisor that is cut off after any step of passing output on leaves a journal from which the next one neither
// loses nor doubles a byte.
func TestJournalAtEveryStep(t *testing.T) {
	const text = "first\nsecond\nrest"
	const whole = len("first\nsecond\n")
	for step := range 6 {
		dir := t.TempDir()
		w, err := pipe.NewScratch()
		if err != nil {
			t.Fatal(err)
		}
		fifo, err := pipe.Create(filepath.Join(dir, "fifo"), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		log := openLog(t, dir)
		j, err := journal.Open(filepath.Join(dir, "journal"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fifo.WriteString(text); err != nil {
			t.Fatal(err)
		}
		s := j.Slot(0)
		// What a whole append would write, from a log of its own.
		var encoded, buf []byte
		var at time.Time
		other := openLog(t, t.TempDir())
		n, err := other.Append(&buf, []byte(text), "stdout", false, func(n int, _ int64, now time.Time) { at = now }, func() {})
		if err != nil || n != whole {
			t.Fatalf("%d bytes logged, %v", n, err)
		}
		if encoded, err = os.ReadFile(other.Path()); err != nil {
			t.Fatal(err)
		}
		other.Close()
		write := func(part []byte) {
			f, err := os.OpenFile(log.Path(), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = f.Write(part)
			f.Close()
		}
		steps := []func(){
			func() { s.Begin(n, text[n-1], 0, at) },
			func() { write(encoded[:20]) }, // killed in the middle of a write
			func() { write(encoded[20:]) },
			s.Logged,
			func() { _ = w.Consume(fifo, n, s.Marker()) },
			s.Commit,
		}
		for _, do := range steps[:step+1] {
			do()
		}
		_ = j.Close()
		if j, err = journal.Open(filepath.Join(dir, "journal")); err != nil { // the next supervisor
			t.Fatal(err)
		}
		s = j.Slot(0)
		if r := s.Unfinished(); r != nil {
			if r.Bytes != n || step > 3 {
				t.Errorf("step %d: intent %+v", step, r)
			}
			if !r.Logged {
				if err := log.Complete(&buf, []byte(text)[:r.Bytes], "stdout", r.Time, r.LogBefore); err != nil {
					t.Fatal(err)
				}
				s.Logged()
			}
			if err := w.Consume(fifo, r.Bytes, s.Marker()); err != nil {
				t.Fatal(err)
			}
			s.Commit()
		}
		left, err := w.Peek(fifo)
		if err != nil || string(left) != "rest" {
			t.Errorf("step %d: %q left in the FIFO, %v", step, left, err)
		}
		if got, _ := os.ReadFile(log.Path()); string(got) != string(encoded) {
			t.Errorf("step %d: log %q", step, got)
		}
		if s.Done() != uint64(n) || s.InLog() != uint64(n) || s.Unfinished() != nil {
			t.Errorf("step %d: %d bytes done", step, s.Done())
		}
		_ = j.Close()
		log.Close()
		fifo.Close()
		w.Release()
	}
}

// A supervisor is killed while its log takes what was in the ring, and a part of that was dropped meanwhile because the
// ring was full. The next one does not take what the log has of it for the beginning of the rest.
func TestNoteOfWhatWasDropped(t *testing.T) {
	dir := t.TempDir()
	const text = "dropped\nkept\n"
	const dropped = uint64(len("dropped\n"))
	j, err := journal.Open(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	log := openLog(t, dir)
	defer log.Close()
	ring, err := logging.OpenRing(filepath.Join(dir, "ring"), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if err := ring.Write([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	slot, note := j.Slot(0), j.Note(0)
	slot.BeginRing(len(text), '\n')
	slot.Commit()
	var buf []byte
	if _, err := log.Append(&buf, []byte(text), "stdout", false, func(n int, size int64, at time.Time) {
		note.Begin(0, uint64(n), size, at)
	}, func() {}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log.Path(), 20); err != nil { // it came no further
		t.Fatal(err)
	}
	slot.Pass(dropped)

	s := &stream{task: &task{log: log, sup: &Supervisor{log: slog.New(slog.DiscardHandler)}}, kind: shim.FrameStdout, slot: slot, note: note, ring: ring}
	s.finishNote(&tools{})
	got, err := os.ReadFile(log.Path())
	if err != nil {
		t.Fatal(err)
	}
	var entry struct{ Log, Stream string }
	if err := json.Unmarshal(got, &entry); err != nil || entry.Log != "kept\n" {
		t.Errorf("the log is %q: %v", got, err)
	}
	if note.Unfinished() != nil || slot.InLog() != uint64(len(text)) {
		t.Errorf("%d bytes are in the log, of %d", slot.InLog(), len(text))
	}
}
