package blob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
)

func open(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ingesting(t testing.TB, s *Store) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.root, ingestDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBlobs(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "blobs")
	s := open(t, root)
	data := []byte("content")
	d, err := s.Put(data)
	if err != nil || d != digest.FromBytes(data) {
		t.Fatal(d, err)
	}
	if again, err := s.Put(data); err != nil || again != d {
		t.Error(again, err)
	}
	d2, size, err := s.Ingest(ctx, strings.NewReader("more content"), "", 100)
	if err != nil || size != 12 {
		t.Fatal(size, err)
	}
	if _, _, err := s.Ingest(ctx, strings.NewReader("more content"), d, 0); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("wrong digest: %v", err)
	}
	if _, _, err := s.Ingest(ctx, strings.NewReader("more content"), "", 5); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("too large: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Ingest(canceled, strings.NewReader("x"), "", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if n := ingesting(t, s); n != 0 {
		t.Errorf("%d ingests are left", n)
	}
	s = open(t, root)
	if got, err := s.Read(d2, 12); err != nil || string(got) != "more content" {
		t.Errorf("Read = %q, %v", got, err)
	}
	if _, err := s.Read(d2, 11); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("limit: %v", err)
	}
	if all, err := s.List(); err != nil || len(all) != 2 {
		t.Errorf("List = %v, %v", all, err)
	}
	if err := s.Remove(d); err != nil {
		t.Error(err)
	}
	if err := s.Remove(d); err != nil {
		t.Error(err)
	}
	if _, err := s.Open(d); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("Open = %v", err)
	}
	if err := os.WriteFile(s.path(d2), []byte("more CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(d2, 100); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	var layout ocispec.ImageLayout
	raw, err := os.ReadFile(filepath.Join(root, ocispec.ImageLayoutFile))
	if err != nil || json.Unmarshal(raw, &layout) != nil || layout.Version != "1.0.0" {
		t.Errorf("layout = %q, %v", raw, err)
	}
}

func TestBadDigests(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "blobs"))
	for _, bad := range []string{"", "sha256:", "sha256:../../../etc/passwd", "../x", "sha256:" + strings.Repeat("A", 64), "sha512:" + strings.Repeat("a", 128), "md5:" + strings.Repeat("a", 32)} {
		d := digest.Digest(bad)
		_, err1 := s.Open(d)
		_, err2 := s.Size(d)
		err3 := s.Remove(d)
		_, err4 := s.Resume(d)
		for _, err := range []error{err1, err2, err3, err4} {
			if !errkind.Is(err, errkind.Invalid) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}

func TestResume(t *testing.T) {
	root := filepath.Join(t.TempDir(), "blobs")
	s := open(t, root)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	d := digest.FromBytes(data)
	in, err := s.Resume(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resume(d); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("twice: %v", err)
	}
	if _, err := in.Write(data[:4000]); err != nil {
		t.Fatal(err)
	}
	// Killed here: nobody closes. Begun ingests without a name go, this one stays.
	if _, err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	if n := ingesting(t, s); n != 1 {
		t.Errorf("%d ingests", n)
	}
	in, err = s.Resume(d)
	if err != nil || in.Size() != 4000 {
		t.Fatal(in.Size(), err)
	}
	if _, err := in.Write(data[4000:]); err != nil {
		t.Fatal(err)
	}
	if err := in.Commit(d); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Close(), in.Close()); err != nil {
		t.Error(err)
	}
	f, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
		t.Errorf("content differs: %v", err)
	}
	// What turns out wrong is thrown away, so that the next try begins anew.
	other := digest.FromString("other")
	in, _ = s.Resume(other)
	_, _ = in.Write([]byte("not the other"))
	if err := in.Commit(other); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("Commit = %v", err)
	}
	_ = in.Close()
	if n := ingesting(t, s); n != 0 {
		t.Errorf("%d ingests", n)
	}
}

func TestSweep(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "blobs"))
	old, _ := s.Put([]byte("old"))
	kept, _ := s.Put([]byte("kept"))
	fresh, _ := s.Put([]byte("fresh"))
	past := time.Now().Add(-2 * partialAge)
	for _, d := range []digest.Digest{old, kept} {
		if err := os.Chtimes(s.path(d), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sweep(func(d digest.Digest) bool { return d == kept }); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[digest.Digest]bool{old: false, kept: true, fresh: true} {
		if _, err := s.Size(d); (err == nil) != want {
			t.Errorf("%s: %v", d, err)
		}
	}
}
