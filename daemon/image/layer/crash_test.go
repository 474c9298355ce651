package layer

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"pier/kernel/mount"
	"pier/lib/errkind"
)

// TestDeathInTheMiddle: what a killed Pier leaves half made is gone after the next Open, what was whole is there.
func TestDeathInTheMiddle(t *testing.T) {
	root := filepath.Join(t.TempDir(), "layers")
	s := openAt(t, root)
	whole := apply(t, s, "", archive(t, reg("a", "x")))
	if _, err := s.NewWritable("c1"); err != nil {
		t.Fatal(err)
	}
	// Killed while unpacking, while publishing (a folder without its record), and while deleting.
	d, err := s.newDraft()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.path, diffDir, "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(root, chainDir, digest.FromString("bare").Encoded())
	if err := os.MkdirAll(filepath.Join(bare, diffDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, trashDir, "old", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	s2 := openAt(t, root)
	leftovers(t, s2)
	if _, err := os.Stat(bare); err == nil {
		t.Error("a layer without record is there")
	}
	if l, err := s2.Get(whole.ChainID); err != nil || noted(l) != noted(whole) {
		t.Errorf("the whole layer: %+v, %v", l, err)
	}
	checkTar(t, s2, whole, nil)
	if _, err := s2.Writable("c1"); err != nil {
		t.Error(err)
	}
}

// reboot makes the layers on the disk look as if they were made before the machine last started.
func reboot(t *testing.T, root string) {
	t.Helper()
	names, err := readNames(filepath.Join(root, chainDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p := filepath.Join(root, chainDir, name, recordFile)
		var rec record
		raw, err := os.ReadFile(p)
		if err == nil {
			err = json.Unmarshal(raw, &rec)
		}
		rec.Boot = "another"
		if err == nil {
			raw, err = json.Marshal(rec)
		}
		if err == nil {
			err = os.WriteFile(p, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCut: layers that no Sync covered do not exist afterwards, unless a durable record vouches for them.
func TestPowerCut(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "layers")
	s := openAt(t, root)
	synced := apply(t, s, "", archive(t, reg("a", "synced")))
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	young := apply(t, s, synced.ChainID, archive(t, reg("b", "young")))
	named := apply(t, s, synced.ChainID, archive(t, reg("b", "named")))
	reboot(t, root)
	s = openAt(t, root)
	if _, err := s.Get(synced.ChainID); err != nil {
		t.Error(err)
	}
	for _, l := range []Layer{young, named} {
		if _, err := s.Get(l.ChainID); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("a layer that was not synced: %v", err)
		}
		if err := s.Hold("x", l.ChainID); err == nil {
			t.Error("it can be held")
		}
	}
	if err := s.Trust(named.ChainID); err != nil {
		t.Fatal(err)
	}
	if err := s.Hold("image", named.ChainID); err != nil {
		t.Fatal(err)
	}
	checkTar(t, s, named, nil)
	// The same layer applied again takes the suspect's place.
	if l := apply(t, s, synced.ChainID, archive(t, reg("b", "young"))); noted(l) != noted(young) {
		t.Errorf("applied again: %+v", l)
	}
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(young.ChainID); err != nil {
		t.Error(err)
	}
}

func TestCollect(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	base := apply(t, s, "", archive(t, reg("a", "x")))
	left, right := apply(t, s, base.ChainID, archive(t, reg("b", "l"))), apply(t, s, base.ChainID, archive(t, reg("b", "r")))
	exists := func(want string) {
		t.Helper()
		if err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		got := ""
		for name, l := range map[string]Layer{"b": base, "l": left, "r": right} {
			if _, err := s.Get(l.ChainID); err == nil {
				got += name
			}
		}
		if len(got) != len(want) {
			t.Fatalf("layers %q, want %q", got, want)
		}
	}
	exists("blr") // nobody has held them yet: whoever made them is about to
	for _, err := range []error{s.Hold("one", left.ChainID), s.Hold("two", left.ChainID), s.Hold("two", right.ChainID), s.Hold("three", base.ChainID)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Release("three")
	exists("blr")
	s.Release("two")
	exists("bl")
	s.Release("one")
	exists("")
	leftovers(t, s)
	if names, _ := readNames(filepath.Join(s.root, chainDir)); len(names) != 0 {
		t.Errorf("folders %v", names)
	}
}

// small mounts a file system of a few MiB and opens a store on it.
func small(t *testing.T, size string) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := mount.Filesystem("tmpfs", map[string]string{"size": size}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := mount.Attach(f, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(dir, true); err != nil {
			t.Error(err)
		}
	})
	return openAt(t, filepath.Join(dir, "layers")), dir
}

func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	s, _ := small(t, "4m")
	kept := apply(t, s, "", archive(t, reg("kept", strings.Repeat("k", 1<<20))))
	big := archive(t, reg("big", strings.Repeat("random", 1<<20)))
	for range 3 {
		if _, err := s.Apply(ctx, kept.ChainID, bytes.NewReader(big), ""); !errkind.Is(err, errkind.Exhausted) {
			t.Fatalf("error = %v", err)
		}
		leftovers(t, s)
	}
	checkTar(t, s, kept, nil)
	fits := apply(t, s, kept.ChainID, archive(t, reg("small", "fits")))
	checkTar(t, s, fits, nil)
}

func TestTamperedLayer(t *testing.T) {
	s := open(t)
	l := apply(t, s, "", archive(t, reg("a", "original"), reg("b", "x")))
	if err := os.WriteFile(filepath.Join(s.diff(l.ChainID), "a"), []byte("modified"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := s.Tar(context.Background(), l.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error = %v", err)
	}
}

func TestTooManyLayers(t *testing.T) {
	s := open(t)
	var at digest.Digest
	for range MaxDepth {
		at = apply(t, s, at, archive(t, reg("f", "x"))).ChainID
	}
	if _, err := s.Apply(context.Background(), at, bytes.NewReader(archive(t)), ""); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("error = %v", err)
	}
	lines := tree(t, mounted(t, s, at, nil), ".")
	if len(lines) != 1 {
		t.Errorf("tree = %v", lines)
	}
}

func TestWritables(t *testing.T) {
	s := open(t)
	for _, bad := range []string{"", ".", "..", "../x", "a/b", ".hidden", strings.Repeat("x", 200), "a\x00"} {
		if _, err := s.NewWritable(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("NewWritable(%q) = %v", bad, err)
		}
	}
	if _, err := s.Writable("none"); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("Writable = %v", err)
	}
	w, err := s.NewWritable("c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewWritable("c"); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("twice: %v", err)
	}
	for range 2 { // a volatile mount can be made again
		f, err := s.Mount("", &w, MountOptions{Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if err := s.RemoveWritable("c"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveWritable("c"); err != nil {
		t.Fatal(err)
	}
	leftovers(t, s)
}

// noted is what the store has written down of a layer, without what it has measured since it was opened.
func noted(l Layer) Layer {
	l.usage = nil
	return l
}
