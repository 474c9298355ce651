package page

import (
	"path/filepath"
	"testing"
)

func TestStoresSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	p, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p.Store(0, 1)
	p.Store(Words-1, 1<<63)
	*p.Byte(7) = 0xab
	q, err := Open(path) // without Close: as after a crash
	if err != nil {
		t.Fatal(err)
	}
	if q.Load(0) != 1 || q.Load(Words-1) != 1<<63 || *q.Byte(7) != 0xab || q.Load(1) != 0 {
		t.Error("a store is missing")
	}
	for _, x := range []*Page{p, q} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}
