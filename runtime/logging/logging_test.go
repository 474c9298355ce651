package logging

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"pier/api/shim"
	"pier/lib/gzblock"
)

func quick() *Packer {
	p := NewPacker(slog.New(slog.DiscardHandler))
	p.delay = 0
	return p
}

func open(t *testing.T, spec shim.Log) *File {
	t.Helper()
	f, err := Open(spec, quick())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func ignore(int, int64, time.Time) {}

type entry struct {
	Log, Stream string
	Attrs       map[string]string
	Time        time.Time
}

func parse(t *testing.T, text []byte) (all []entry) {
	t.Helper()
	for _, line := range bytes.SplitAfter(text, []byte{'\n'}) {
		var e entry
		if len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%.80q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func TestEntryIsJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	for _, text := range []string{"plain\n", "x", "tab\tquote\"back\\slash\r\n", "\x00\x1f\x7f", "caf\u00e9 \u2028 <&>", "\xff\xfe bad \xc3"} {
		line, used := newEncoder(map[string]string{"k": "v"}).encode(nil, []byte(text), "stdout", at, true, 1<<20)
		e := parse(t, line)[0]
		if want := strings.ToValidUTF8(text, "\uFFFD"); text == "\xff\xfe bad \xc3" {
			if e.Log != "\uFFFD\uFFFD bad \uFFFD" {
				t.Errorf("%q became %q", text, e.Log)
			}
		} else if e.Log != want {
			t.Errorf("%q became %q", text, e.Log)
		}
		if got, ok := shim.LogTime(line); !ok || !got.Equal(at) {
			t.Errorf("time of %q: %v", line, got)
		}
		if used != len(text) || e.Stream != "stdout" || e.Attrs["k"] != "v" || !e.Time.Equal(at) || line[len(line)-1] != '\n' {
			t.Errorf("entry %q", line)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte("a\xffb\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ReplaceAll(text, []byte{'\n'}, nil)
		if len(text) == 0 {
			return
		}
		line, _ := encoder{}.encode(nil, text, "stderr", time.Unix(0, 0), true, 1<<30)
		if e := parse(t, line)[0]; utf8.Valid(text) && e.Log != string(text) {
			t.Fatalf("%q became %q", text, e.Log)
		}
	})
}

func TestEncodeCutsAndHolds(t *testing.T) {
	long := strings.Repeat("\u00e9", MaxLine) // two bytes each: a cut must not tear one
	text := "one\ntwo\n" + long + "\nrest"
	out, used := encoder{}.encode(nil, []byte(text), "stdout", time.Now(), false, 1<<30)
	if used != len(text)-len("rest") {
		t.Errorf("used %d of %d", used, len(text))
	}
	var got strings.Builder
	for _, e := range parse(t, out) {
		got.WriteString(e.Log)
		if len(e.Log) > MaxLine {
			t.Errorf("an entry of %d bytes", len(e.Log))
		}
	}
	if got.String() != strings.TrimSuffix(text, "rest") {
		t.Error("the text changed")
	}
	whole := strings.Repeat("x", MaxLine-1) + "\n"
	if out, _ := (encoder{}).encode(nil, []byte(whole), "stdout", time.Now(), false, 1<<30); len(parse(t, out)) != 1 {
		t.Error("a line of 1 MiB was cut")
	}
	if _, used := (encoder{}).encode(nil, []byte("rest"), "stdout", time.Now(), true, 1<<20); used != 4 {
		t.Errorf("forced: used %d", used)
	}
}

func TestRotateClosesGaps(t *testing.T) {
	dir := t.TempDir()
	f := open(t, shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 10, MaxFiles: 4})
	write := func(s string) {
		if err := f.write([]byte(s), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.rotate(); err != nil {
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

// A crash after a file was compressed, before the plain one was removed, leaves both. They never part.
func TestRotateKeepsOneForm(t *testing.T) {
	dir := t.TempDir()
	f := open(t, shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 10, MaxFiles: 5})
	for name, text := range map[string]string{"log.1": "a", "log.1.gz": "packed a", "log.2.gz": "packed b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.rotate(); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "log log.1 log.2.gz log.3.gz" {
		t.Errorf("after a rotation: %s", got)
	}
}

// TestCompress writes a log through many rotations while files are compressed: what is left on disk is its end, without
// a gap, in as many files as allowed, and gunzip can read them.
func TestCompress(t *testing.T) {
	dir := t.TempDir()
	spec := shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 64 << 10, MaxFiles: 4, Compress: true}
	f := open(t, spec)
	var buf []byte
	const lines = 5000
	for i := range lines {
		if _, err := f.Append(&buf, fmt.Appendf(nil, "line %d %s\n", i, strings.Repeat("x", i%100)), "stdout", false, ignore, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := 24000; ; deadline-- { // until all rotated files are compressed
		f.mu.Lock()
		busy := f.packing
		f.mu.Unlock()
		if !busy {
			break
		}
		if deadline == 0 {
			t.Fatal("compressing does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
	var all []entry
	for i := 3; i >= 0; i-- {
		name := f.name(i)
		if i == 0 {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, parse(t, text)...)
			continue
		}
		if exists(name) || !exists(name+".gz") {
			t.Fatalf("%s is not compressed", name)
		}
		g, err := os.Open(name + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(g)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		part := parse(t, text)
		all = append(all, part...)
		info, _ := g.Stat()
		blocks, err := gzblock.Blocks(g, info.Size())
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%d blocks, %v", len(blocks), err)
		}
		note, ok := shim.ParseLogNote(blocks[0].Note)
		if !ok || note.Entries != len(part) || !note.First.Equal(part[0].Time) || !note.Last.Equal(part[len(part)-1].Time) {
			t.Errorf("note %+v of %d entries from %v", note, len(part), part[0].Time)
		}
		g.Close()
	}
	first := lines - len(all)
	for i, e := range all {
		if !strings.HasPrefix(e.Log, fmt.Sprintf("line %d ", first+i)) {
			t.Fatalf("entry %d is %.20q, not line %d", i, e.Log, first+i)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("%d files, %v", len(left), err)
	}
}

// TestPlainFilesAreTakenUp covers a log whose compressing was cut off, or was asked for later.
func TestPlainFilesAreTakenUp(t *testing.T) {
	dir := t.TempDir()
	spec := shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 10, MaxFiles: 3}
	var buf []byte
	f := open(t, spec)
	for _, s := range []string{"one\n", "two\n", "three\n"} {
		if _, err := f.Append(&buf, []byte(s), "stdout", false, ignore, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if err := os.WriteFile(spec.Path+".pack", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Compress = true
	f = open(t, spec)
	f.mu.Lock()
	packed := f.packed
	f.mu.Unlock()
	<-packed
	for _, name := range []string{"log.1.gz", "log.2.gz"} {
		if !exists(filepath.Join(dir, name)) {
			t.Errorf("no %s", name)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("%d files", len(left))
	}
}

func TestRing(t *testing.T) {
	r, err := OpenRing(filepath.Join(t.TempDir(), "ring"), 10)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := []byte("abcdefghijklmnopqrstuvwxyz")
	for at := 0; at+4 <= len(text); at += 4 {
		if err := r.Write(text[at:at+4], uint64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Append([]byte("> "), 16, 24); err != nil || string(got) != "> qrstuvwx" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.Append(nil, 3, 24); err == nil {
		t.Error("more than the ring holds was read")
	}
}

func BenchmarkEncode(b *testing.B) {
	line := "2026-11-22T03:30:00Z INFO request served method=GET path=/api/v1/things/42 status=200 bytes=5123 ms=17\n"
	text := bytes.Repeat([]byte(line), 600)
	var buf []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		buf, _ = encoder{}.encode(buf[:0], text, "stdout", time.Now(), false, 1<<30)
	}
}

func TestPlain(t *testing.T) {
	for c := range 256 {
		for at := range 8 {
			text := []byte("abcdefgh")
			text[at] = byte(c)
			want := c >= ' ' && c < utf8.RuneSelf && !strings.ContainsRune(`"\<>&`, rune(c))
			if plain(binary.LittleEndian.Uint64(text)) != want {
				t.Errorf("byte %#x at %d: want %v", c, at, want)
			}
		}
	}
}

// Two streams of one container write to its log. Nobody rotates it while the other has not noted that its entries are there:
// a supervisor that died in between would leave a note about a file that is another one now, and all would be there twice.
func TestNobodyRotatesUnderAnother(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(shim.Log{Path: filepath.Join(dir, "log"), MaxSize: 2000, MaxFiles: 1000}, NewPacker(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var open atomic.Int32 // notes of entries that may be there
	var both sync.WaitGroup
	for _, stream := range []string{"stdout", "stderr"} {
		both.Go(func() {
			var buf []byte
			for range 2000 {
				n, err := f.Append(&buf, []byte("line\n"), stream, false, func(int, int64, time.Time) {
					if n := open.Add(1); n != 1 {
						t.Errorf("%d notes are open", n)
					}
				}, func() { open.Add(-1) })
				if n != len("line\n") || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
		})
	}
	both.Wait()
	if files, err := os.ReadDir(dir); err != nil || len(files) < 10 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
