package supervisor

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pier/api/shim"
	"pier/kernel/pipe"
)

func TestEntryIsJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	for _, text := range []string{"plain\n", "", "tab\tquote\"back\\slash\r\n", "\x00\x1f\x7f", "caf\u00e9 \u2028 <&>", "\xff\xfe bad \xc3"} {
		line := newLineFormat(map[string]string{"k": "v"}).appendEntry(nil, []byte(text), "stdout", at)
		var e struct {
			Log, Stream string
			Attrs       map[string]string
			Time        time.Time
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.ToValidUTF8(text, "\uFFFD"); text == "\xff\xfe bad \xc3" {
			if e.Log != "\uFFFD\uFFFD bad \uFFFD" {
				t.Errorf("%q became %q", text, e.Log)
			}
		} else if e.Log != want {
			t.Errorf("%q became %q", text, e.Log)
		}
		if e.Stream != "stdout" || e.Attrs["k"] != "v" || !e.Time.Equal(at) || line[len(line)-1] != '\n' {
			t.Errorf("entry %q", line)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte("a\xffb\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		line := lineFormat{}.appendEntry(nil, text, "stderr", time.Unix(0, 0))
		var e struct{ Log string }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if utf8.Valid(text) && e.Log != string(text) {
			t.Fatalf("%q became %q", text, e.Log)
		}
	})
}

func TestEncodeCutsAndHolds(t *testing.T) {
	l := &logFile{}
	long := strings.Repeat("\u00e9", maxLine) // two bytes each: a cut must not tear one
	text := "one\ntwo\n" + long + "\nrest"
	out, used := l.encode(nil, []byte(text), "stdout", time.Now(), false, 1<<20)
	if used != len(text)-len("rest") {
		t.Errorf("used %d of %d", used, len(text))
	}
	var got string
	for _, line := range strings.SplitAfter(string(out), "\n") {
		var e struct{ Log string }
		if line != "" {
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got += e.Log
		}
	}
	if got != strings.TrimSuffix(text, "rest") {
		t.Error("the text changed")
	}
	if _, used := l.encode(nil, []byte("rest"), "stdout", time.Now(), true, 1<<20); used != 4 {
		t.Errorf("forced: used %d", used)
	}
}

func TestRotateClosesGaps(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 10, MaxFiles: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	write := func(s string) {
		if err := l.append([]byte(s), 0); err != nil {
			t.Fatal(err)
		}
		if err := l.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"1", "2", "3", "4", "5"} {
		write(s)
	}
	// A crash between two renames of a rotation leaves a gap; the next rotation must not push the oldest out for it.
	if err := os.Rename(filepath.Join(dir, "log.1"), filepath.Join(dir, "log.x")); err != nil {
		t.Fatal(err)
	}
	write("6")
	for name, want := range map[string]string{"log": "", "log.1": "6", "log.2": "4", "log.3": "3"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "log.4")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("too many files")
	}
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
		log, err := openLog(shim.Log{Path: filepath.Join(dir, "log")})
		if err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(filepath.Join(dir, "journal"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fifo.WriteString(text); err != nil {
			t.Fatal(err)
		}
		s, at := j.slot(0), time.Now()
		encoded, n := log.encode(nil, []byte(text), "stdout", at, false, 1<<20)
		if n != whole {
			t.Fatalf("%d bytes encoded", n)
		}
		steps := []func(){
			func() { s.begin(n, text[n-1], 0, at) },
			func() { _ = log.append(encoded[:20], 0) }, // killed in the middle of a write
			func() { _ = log.append(encoded[20:], 20) },
			s.logged,
			func() { _ = w.Consume(fifo, n, s.marker()) },
			s.commit,
		}
		for _, do := range steps[:step+1] {
			do()
		}
		_ = j.page.Close()
		if j, err = openJournal(filepath.Join(dir, "journal")); err != nil { // the next supervisor
			t.Fatal(err)
		}
		s = j.slot(0)
		if r := s.unfinished(); r != nil {
			if r.bytes != n || step > 3 {
				t.Errorf("step %d: intent %+v", step, r)
			}
			if !r.logged {
				again, _ := log.encode(nil, []byte(text)[:r.bytes], "stdout", r.time, true, 1<<62)
				if err := log.complete(again, r.logBefore); err != nil {
					t.Fatal(err)
				}
				s.logged()
			}
			if err := w.Consume(fifo, r.bytes, s.marker()); err != nil {
				t.Fatal(err)
			}
			s.commit()
		}
		left, err := w.Peek(fifo)
		if err != nil || string(left) != "rest" {
			t.Errorf("step %d: %q left in the FIFO, %v", step, left, err)
		}
		if got, _ := os.ReadFile(log.spec.Path); string(got) != string(encoded) {
			t.Errorf("step %d: log %q", step, got)
		}
		if s.done() != uint64(n) || s.unfinished() != nil {
			t.Errorf("step %d: %d bytes done", step, s.done())
		}
		_ = j.page.Close()
		log.close()
		fifo.Close()
		w.Release()
	}
}
