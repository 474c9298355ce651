package checkpoint

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

func folders(t *testing.T) Place {
	t.Helper()
	return Place{Own: t.TempDir(), Ref: "web"}
}

// fill is a draft with something in it.
func fill(t *testing.T, s *Store, p Place, name string) *Draft {
	t.Helper()
	d, err := s.Begin(p, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path(), []byte("pages"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// path is a file of the runtime's.
func (d *Draft) path() string { return filepath.Join(d.note.Dir, d.note.Aside, "pages.img") }

func make1(t *testing.T, s *Store, p Place, name string) {
	t.Helper()
	d := fill(t, s, p, name)
	defer d.Discard()
	if err := d.Finish(Manifest{Container: "c1"}); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, s *Store, p Place, names ...string) {
	t.Helper()
	if got, err := s.List(p); err != nil || !slices.Equal(got, names) {
		t.Errorf("checkpoints: %q, %v, want %q", got, err, names)
	}
}

// clean wants nothing that is half done, in the folder and in the note.
func clean(t *testing.T, p Place) {
	t.Helper()
	path, err := p.path()
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if isAside(e.Name()) {
			t.Errorf("left: %s", e.Name())
		}
	}
	if _, err := os.Lstat(filepath.Join(p.Own, noteName)); !os.IsNotExist(err) {
		t.Errorf("the note is there: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	own := folders(t)
	custom := Place{Own: own.Own, Ref: "web", Dir: filepath.Join(t.TempDir(), "not/there/yet")}
	for _, p := range []Place{own, custom} {
		s := New()
		make1(t, s, p, "second")
		make1(t, s, p, "first")
		want(t, s, p, "first", "second")
		clean(t, p)
		if _, err := s.Begin(p, "first"); !errkind.Is(err, errkind.Conflict) {
			t.Errorf("a second one of the name: %v", err)
		}
		k, err := s.Open(p, "first")
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		names, err := k.Folder.Readdirnames(-1)
		slices.Sort(names)
		if err != nil || !slices.Equal(names, []string{"pages.img", manifestName}) || k.Manifest.Container != "c1" {
			t.Errorf("opened: %q, %v, %+v", names, err, k.Manifest)
		}
		if err := s.Remove(p, "first"); err != nil {
			t.Error(err)
		}
		if err := s.Remove(p, "first"); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("removed twice: %v", err)
		}
		if _, err := s.Open(p, "first"); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("opened after its removal: %v", err)
		}
		want(t, s, p, "second")
		clean(t, p)
	}
}

func TestDiscard(t *testing.T) {
	p, s := folders(t), New()
	d := fill(t, s, p, "one")
	want(t, s, p)
	for what, err := range map[string]error{"made": func() error { _, err := s.Begin(p, "other"); return err }(), "removed": s.Remove(p, "other")} {
		if !errkind.Is(err, errkind.Conflict) {
			t.Errorf("a second one is %s while the first is made: %v", what, err)
		}
	}
	if err := s.Recover(p.Own); err != nil { // of one that is being made now
		t.Error(err)
	}
	if _, err := os.Stat(d.path()); err != nil {
		t.Error("what is being made was removed: ", err)
	}
	d.Discard()
	want(t, s, p)
	clean(t, p)
	make1(t, s, p, "one")
}

// TestCrash takes the life of a Store at each step.
func TestCrash(t *testing.T) {
	custom := Place{Own: t.TempDir(), Ref: "web", Dir: t.TempDir()}
	for _, p := range []Place{folders(t), custom} {
		fill(t, New(), p, "half")
		want(t, New(), p)
		if err := New().Recover(p.Own); err != nil {
			t.Fatal(err)
		}
		clean(t, p)

		d := fill(t, New(), p, "whole") // it has its name, and nobody was told
		if err := d.Finish(Manifest{}); err != nil {
			t.Fatal(err)
		}
		if err := New().Recover(p.Own); err != nil {
			t.Fatal(err)
		}
		want(t, New(), p, "whole")
		clean(t, p)

		w, err := p.begin("whole", "gone") // on its way out
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(w.Dir, "whole"), filepath.Join(w.Dir, w.Aside)); err != nil {
			t.Fatal(err)
		}
		make1(t, New(), p, "next") // the next one clears up, too
		want(t, New(), p, "next")
		clean(t, p)
	}
	if err := New().Recover(filepath.Join(t.TempDir(), "missing")); err != nil {
		t.Error(err)
	}
}

// TestStrangers has things in a user's folder that are no checkpoints: they are not listed, not started from, not removed.
func TestStrangers(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	p, s := Place{Own: t.TempDir(), Ref: "web", Dir: dir}, New()
	make1(t, s, p, "good")
	make1(t, s, Place{Own: p.Own, Dir: outside}, "real")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("home/precious", "x")
	write("file", "x")
	write("broken/"+manifestName, "{")
	write("later/"+manifestName, `{"Version":2}`)
	write("huge/"+manifestName, strings.Repeat(" ", maxManifest+1))
	write(".hidden/"+manifestName, `{"Version":1}`)
	if err := os.MkdirAll(filepath.Join(dir, "deep", manifestName), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": filepath.Join(outside, "real"), "loop": "loop", "up": "../" + filepath.Base(outside) + "/real"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "linked"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "real", manifestName), filepath.Join(dir, "linked", manifestName)); err != nil {
		t.Fatal(err)
	}
	want(t, s, p, "good")
	for _, name := range []string{"home", "file", "broken", "later", "huge", ".hidden", "deep", "link", "loop", "up", "linked"} {
		if k, err := s.Open(p, name); err == nil {
			k.Close()
			t.Errorf("%s was opened", name)
		}
		if err := s.Remove(p, name); err == nil {
			t.Errorf("%s was removed", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
		if _, err := s.Begin(p, name); err == nil {
			t.Errorf("%s was taken as the name of a new one", name)
		}
	}
	want(t, s, Place{Own: p.Own, Dir: outside}, "real")
}

func TestBadNames(t *testing.T) {
	p, s := folders(t), New()
	for _, name := range []string{"", "a", ".", "..", ".x", "-x", "_x", "../x", "a/b", "/etc", "a\x00b", "a b", "ü1", strings.Repeat("a", 201)} {
		_, opened := s.Open(p, name)
		_, begun := s.Begin(p, name)
		for what, err := range map[string]error{"open": opened, "begin": begun, "remove": s.Remove(p, name)} {
			if !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "Invalid checkpoint ID") {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	for _, dir := range []string{"checkpoints", "./x", "../x"} {
		p.Dir = dir
		if _, err := s.List(p); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("folder %q: %v", dir, err)
		}
		if _, err := s.Begin(p, "one"); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("folder %q: %v", dir, err)
		}
	}
	p.Dir = filepath.Join(t.TempDir(), "missing")
	if _, err := s.List(p); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("missing folder: %v", err)
	}
	p.Dir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(p, "one"); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("a file for a folder: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	had := map[string]*api.EndpointSettings{"bridge": {IPAddress: netip.MustParseAddr("10.1.0.5"), MacAddress: api.HardwareAddr{2, 66, 10, 1, 0, 5}}, "none": {}}
	k := &Kept{Manifest: Manifest{Container: "c1", Networks: AddressesOf(had)}}
	if len(k.Addresses()) != 1 {
		t.Errorf("addresses: %v", k.Addresses())
	}
	other := map[string]*api.EndpointSettings{"bridge": {IPAddress: netip.MustParseAddr("10.1.0.6"), MacAddress: api.HardwareAddr{2, 66, 10, 1, 0, 6}}}
	for i, c := range []struct {
		id       string
		settings map[string]*api.EndpointSettings
		ok       bool
	}{{"c1", had, true}, {"c1", other, false}, {"c1", nil, false}, {"c2", other, true}} {
		err := k.Check(c.id, "web", c.settings)
		if (err == nil) != c.ok || err != nil && (!errkind.Is(err, errkind.Conflict) || !strings.Contains(err.Error(), "10.1.0.5 on network bridge")) {
			t.Errorf("case %d: %v", i, err)
		}
	}
	var none *Kept
	if none.Addresses() != nil || none.Check("c1", "web", other) != nil {
		t.Error("no checkpoint wants something")
	}
}
