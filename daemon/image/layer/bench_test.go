package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkCommit is what every build step pays after its command: an upper folder with three small files in /app, on
// top of ten layers.
func BenchmarkCommit(b *testing.B) {
	s := open(b)
	parent := apply(b, s, "", archive(b, dir("app", 0o755), reg("app/a", "x")))
	for i := range 9 {
		parent = apply(b, s, parent.ChainID, archive(b, reg(fmt.Sprintf("etc/%d", i), "x")))
	}
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		w, err := s.NewWritable(fmt.Sprintf("w%d", n))
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(w.Upper, "app"), 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range 3 {
			if err := os.WriteFile(filepath.Join(w.Upper, "app", fmt.Sprint(i)), []byte(strings.Repeat(fmt.Sprint(n), 500)), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if _, err := s.Commit(context.Background(), parent.ChainID, w.Upper); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply unpacks 2,000 files of 4 KiB in 100 folders.
func BenchmarkApply(b *testing.B) {
	var files []file
	for d := range 100 {
		files = append(files, dir(fmt.Sprintf("d%d", d), 0o755))
		for f := range 20 {
			files = append(files, reg(fmt.Sprintf("d%d/f%d", d, f), strings.Repeat(fmt.Sprint(f), 4096)[:4096]))
		}
	}
	data := archive(b, files...)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		b.StopTimer()
		s := open(b)
		b.StartTimer()
		if _, err := s.Apply(context.Background(), "", bytes.NewReader(data), ""); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.trash.wait()
		b.StartTimer()
	}
}
