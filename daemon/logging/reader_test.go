package logging

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/api/shim"
	"pier/lib/gzblock"
)

var origin = time.Date(2026, 1, 1, 0, 0, 0, 500, time.UTC)

// line is entry n, written n seconds after the origin.
func line(n int) string {
	return fmt.Sprintf(`{"log":"line %d\n","stream":"stdout","time":"%s"}`+"\n", n, origin.Add(time.Duration(n)*time.Second).Format(time.RFC3339Nano))
}

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(line(i))
	}
	return b.String()
}

func drain(t *testing.T, r *Reader) string {
	t.Helper()
	var out []string
	var e Entry
	for {
		ok, err := r.Next(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(out, ",")
		}
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(string(e.Log), "line "), "\n"))
	}
}

func readAll(t *testing.T, path string, from From) string {
	t.Helper()
	r, err := Open(path, from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return drain(t, r)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

// pack compresses a file as the supervisor does, with blocks of so many lines.
func pack(t *testing.T, path string, perBlock int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := flate.NewWriter(nil, flate.BestSpeed)
	var out bytes.Buffer
	all := bytes.SplitAfter(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
	for len(all) > 0 {
		n := min(perBlock, len(all))
		note := shim.LogNote{Entries: n}
		note.First, _ = shim.LogTime(all[0])
		note.Last, _ = shim.LogTime(all[n-1])
		block := bytes.Join(all[:n], nil)
		if all = all[n:]; len(all) == 0 {
			block = append(block, '\n')
		}
		if err := gzblock.AppendBlock(&out, w, block, note.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+".gz", out.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestAcrossRotatedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := readAll(t, path, From{}); got != "" {
		t.Fatalf("a log that does not exist: %q", got)
	}
	write(t, path+".2", line(1)+line(2))
	write(t, path+".1", line(3)+"{damaged\n"+line(4))
	write(t, path, line(5)+line(6)+`{"log":"half`)
	check := func() {
		t.Helper()
		for tail, want := range map[int]string{0: "", 1: "", 2: "6", 3: "5,6", 4: "4,5,6", 100: "1,2,3,4,5,6"} {
			if got := readAll(t, path, From{Limited: true, Tail: tail}); got != want {
				t.Errorf("tail %d: %q, want %q", tail, got, want)
			}
		}
		if got := readAll(t, path, From{}); got != "1,2,3,4,5,6" {
			t.Errorf("all: %q", got)
		}
	}
	check()
	pack(t, path+".2", 1)
	check()
	pack(t, path+".1", 2)
	check()
}

// TestPlaces compares what is read from a time, a tail and a position on with what a reading of all gives, in files that
// are compressed or not.
func TestPlaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const all = 30000 // over a megabyte a file: a search takes several steps
	write(t, path+".2", lines(0, 10000))
	write(t, path+".1", lines(10000, 20000))
	write(t, path, lines(20000, all))
	for _, packed := range []string{"", ".2", ".1"} {
		if packed != "" {
			pack(t, path+packed, 1500)
		}
		for _, n := range []int{0, 1, 999, 9999, 10000, 10001, 14998, 19999, 20000, 23456, 29999, 30000, 40000} {
			since := origin.Add(time.Duration(n) * time.Second)
			r, err := Open(path, From{Since: since})
			if err != nil {
				t.Fatal(err)
			}
			var e Entry
			extra, first := 0, ""
			for {
				ok, err := r.Next(&e)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if !e.Time.Before(since) {
					first = string(e.Log)
					break
				}
				extra++
			}
			want := ""
			if n < all {
				want = fmt.Sprintf("line %d\n", n)
			}
			if first != want || extra > 2*piece/len(line(1000)) {
				t.Errorf("since %d%s: begins with %q after %d others", n, packed, first, extra)
			}
			r.Close()
		}
		for _, n := range []int{1, 5000, 10000, 10001, 20001, 29999, 30000, 40000} {
			r, err := Open(path, From{Limited: true, Tail: n})
			if err != nil {
				t.Fatal(err)
			}
			var e Entry
			if ok, err := r.Next(&e); !ok || err != nil || string(e.Log) != fmt.Sprintf("line %d\n", max(all-n, 0)) {
				t.Errorf("tail %d%s: %q, %v", n, packed, e.Log, err)
			}
			r.Close()
		}
	}
}

// TestPosition reads on where another reader was, while files are renamed and compressed in between.
func TestPosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, lines(0, 100))
	r, err := Open(path, From{})
	if err != nil {
		t.Fatal(err)
	}
	if at := r.Position(); at.Offset != 0 || !at.File.Equal(origin) {
		t.Errorf("at the beginning: %+v", at)
	}
	var e Entry
	for range 50 {
		if ok, err := r.Next(&e); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	at := r.Position()
	r.Close()
	rotate := func(i int) {
		for ; i >= 0; i-- {
			from := fmt.Sprintf("%s.%d", path, i)
			if i == 0 {
				from = path
			}
			_ = os.Rename(from+".gz", fmt.Sprintf("%s.%d.gz", path, i+1))
			_ = os.Rename(from, fmt.Sprintf("%s.%d", path, i+1))
		}
	}
	check := func(first string, lost bool) {
		t.Helper()
		r, err := Open(path, From{After: at})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got := drain(t, r); !strings.HasPrefix(got, first+",") || !strings.HasSuffix(got, ",109") || r.Lost() != lost {
			t.Errorf("%.20q ... %.20q, lost %v", got, got[max(0, len(got)-20):], r.Lost())
		}
	}
	rotate(0)
	write(t, path, lines(100, 110))
	check("50", false)
	pack(t, path+".1", 7)
	check("50", false)
	rotate(1)
	check("50", false)
	if err := os.Remove(path + ".2.gz"); err != nil {
		t.Fatal(err)
	}
	check("100", true)
}

func TestLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", 1<<20)
	write(t, path, line(1)+`{"log":"`+long+`\n","stream":"stderr","time":"2026-01-01T00:00:01Z"}`+"\n"+line(2)+
		`{"log":"`+strings.Repeat("y", maxLine)+`\n","stream":"stderr"}`+"\n"+line(3))
	r, err := Open(path, From{Limited: true, Tail: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var e Entry
	if ok, err := r.Next(&e); err != nil || !ok || string(e.Log) != long+"\n" || e.Stream != "stderr" {
		t.Fatalf("%d bytes, %v, %v", len(e.Log), ok, err)
	}
	if got := drain(t, r); got != "2,3" {
		t.Errorf("after it: %q", got)
	}
}

func TestDecode(t *testing.T) {
	var d decoder
	for in, want := range map[string]string{
		`{"log":"a\tb\\\"\u003c\u0001\r\n","stream":"stdout","time":"2026-01-01T00:00:00.5Z"}`:         "a\tb\\\"<\x01\r\n stdout 500000000 map[]",
		`{"log":"x","stream":"stderr","attrs":{"k":"v","time":"{\"}"},"time":"2026-01-01T00:00:00Z"}`:  "x stderr 0 map[k:v time:{\"}]",
		`{"log":",\"time\":\"2000-01-01T00:00:00Z\"","stream":"stderr","time":"2026-01-01T00:00:00Z"}`: `,"time":"2000-01-01T00:00:00Z" stderr 0 map[]`,
		`{"time":"2026-01-01T00:00:00Z","stream":"stdout","log":"other order"}`:                        "other order stdout 0 map[]",
		`{"log":"\ud83d\ude00 \u00e9","stream":"stdout","time":"2026-01-01T00:00:00Z"}`:                "😀 é stdout 0 map[]",
		"{\"log\":\"\xff\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}":                   "\ufffd stdout 0 map[]",
		`{"log":"x","stream":"stdout","time":"2026-01-01T00:00:00Z"`:                                   "no",
		`{"log":"x","stream":"stdout","time":"yesterday"}`:                                             "no",
		`null x`: "no",
	} {
		var e Entry
		got := "no"
		if d.decode([]byte(in), &e) {
			got = fmt.Sprintf("%s %s %d %v", e.Log, e.Stream, e.Time.Nanosecond(), e.Attrs)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestFollow writes, rotates and compresses under a follower, which must see every line once and in order.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const count = 3000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range count {
			write(t, path, line(i))
			if i%500 == 499 {
				for n := 9; n > 0; n-- {
					_ = os.Rename(fmt.Sprintf("%s.%d.gz", path, n), fmt.Sprintf("%s.%d.gz", path, n+1))
				}
				_ = os.Rename(path, path+".1")
				write(t, path, "") // at once, as the supervisor: without a live file there is no log
				pack(t, path+".1", 100)
			}
		}
	}()
	watch := NewWatch(path)
	defer watch.Close()
	r, err := Open(path, From{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	next := 0
	err = r.Follow(ctx, done, watch, func(e *Entry) error {
		if e == nil {
			return nil
		}
		if want := fmt.Sprintf("line %d\n", next); string(e.Log) != want {
			return fmt.Errorf("read %q, want %q", e.Log, want)
		}
		next++
		return nil
	})
	if err != nil || next != count {
		t.Fatalf("read %d of %d lines: %v", next, count, err)
	}
}

// TestEmptied follows a log of one file, which is emptied when it is full.
func TestEmptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, lines(0, 100))
	r, err := Open(path, From{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_ = drain(t, r)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, path, line(100))
	if got := drain(t, r); got != "100" {
		t.Errorf("after it was emptied: %q", got)
	}
	if at := r.Position(); !at.File.Equal(origin.Add(100*time.Second)) || at.Offset != int64(len(line(100))) {
		t.Errorf("position %+v", at)
	}
}

func TestOpenReportsErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path, From{})
	if err == nil {
		_, err = r.Next(&Entry{})
		r.Close()
	}
	if err == nil || errors.Is(err, context.Canceled) {
		t.Error("a folder passed for a log")
	}
}
