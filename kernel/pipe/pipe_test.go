package pipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPeekThenConsume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	f, err := Create(path, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := NewScratch()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if b, err := s.Peek(f); err != nil || len(b) != 0 {
		t.Errorf("empty FIFO: %q, %v", b, err)
	}
	if _, err := f.WriteString("hello world"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b, err := s.Peek(f); err != nil || string(b) != "hello world" {
			t.Errorf("peek: %q, %v", b, err)
		}
	}
	var last byte
	if err := s.Consume(f, 6, &last); err != nil || last != ' ' {
		t.Errorf("consume: last %q, %v", last, err)
	}
	if n := Buffered(f); n != 5 {
		t.Errorf("%d bytes left", n)
	}
	if err := s.Consume(f, 1, &last); err != nil || last != 'w' {
		t.Errorf("consume one: last %q, %v", last, err)
	}
	if b, _ := s.Peek(f); string(b) != "orld" {
		t.Errorf("left: %q", b)
	}
	if Full(f) {
		t.Error("the FIFO is full")
	}
	if err := s.Consume(f, 4, &last); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", Size)
	if _, err := f.WriteString(big); err != nil {
		t.Fatal(err)
	}
	if !Full(f) {
		t.Error("the FIFO is not full")
	}
	if b, err := s.Peek(f); err != nil || len(b) != Size {
		t.Errorf("peek: %d bytes, %v", len(b), err)
	}
}

func TestHeldKeepsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	f, err := Create(path, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	h, err := Hold(f) // closes f
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	buf := make([]byte, 10)
	if n, err := g.Read(buf); err != nil || string(buf[:n]) != "kept" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	h.Close()
	h.Close()
	if _, err := h.File(); err != os.ErrClosed {
		t.Errorf("File of a closed Held: %v", err)
	}
	if _, err := (*Held)(nil).File(); err != os.ErrClosed {
		t.Errorf("File of no Held: %v", err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link", "missing"} {
		if f, err := Open(filepath.Join(dir, name), os.O_RDWR); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
}
