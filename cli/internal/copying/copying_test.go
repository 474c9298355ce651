package copying

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnpack puts hostile and sparse archives into a folder beside a file that nothing may touch.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	canary, dest := filepath.Join(dir, "canary"), filepath.Join(dir, "dest")
	if err := os.WriteFile(canary, []byte("own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string][]tar.Header{
		"up":           {{Name: "../canary"}},
		"absolute":     {{Name: canary}},
		"link":         {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: dir}, {Name: "l/canary"}},
		"link up":      {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/canary"}},
		"link in link": {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b/canary"}, {Name: "b", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "a"}},
		"hard link":    {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../canary"}, {Name: "h"}},
		"hard by link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: dir}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/canary"}, {Name: "h"}},
		"folder time":  {{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "d", Typeflag: tar.TypeSymlink, Linkname: dir}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(dest, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dest)
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range headers {
				if h.Typeflag == 0 {
					h.Typeflag, h.Size = tar.TypeReg, 4
				}
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if h.Typeflag == tar.TypeReg {
					_, _ = w.Write([]byte("evil"))
				}
			}
			_ = w.Close()
			_, err := Unpack(&b, dest, ".", ".", false)
			if data, readErr := os.ReadFile(canary); readErr != nil || string(data) != "own" {
				t.Fatalf("the canary is %q, %v (unpack: %v)", data, readErr, err)
			}
		})
	}
}

// TestSparse unpacks a file whose beginning and end are holes.
func TestSparse(t *testing.T) {
	want := strings.Repeat("\x00", 3*hole) + "data" + strings.Repeat("\x00", 2*hole)
	for _, size := range []int{len(want), 2 * hole, hole, 5, 0} {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := writeSparse(f, strings.NewReader(want[:size])); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || string(got) != want[:size] {
			t.Errorf("%d bytes became %d, %v", size, len(got), err)
		}
	}
}

// TestUnpackModes: what is given to the caller runs as nobody else, and what keeps its owner keeps its bits.
func TestUnpackModes(t *testing.T) {
	for _, owners := range []bool{false, true} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{{Name: "tool", Typeflag: tar.TypeReg, Mode: 0o7755}, {Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o7755}} {
			h.Uid, h.Gid = os.Getuid(), os.Getgid()
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		dest := t.TempDir()
		if _, err := Unpack(&b, dest, "", "", owners); err != nil {
			t.Fatal(err)
		}
		const own = os.ModeSetuid | os.ModeSetgid
		for name, want := range map[string]os.FileMode{"tool": 0o755, "dir": os.ModeDir | os.ModeSticky | 0o755} {
			if owners {
				want |= own | os.ModeSticky
			}
			if fi, err := os.Stat(filepath.Join(dest, name)); err != nil || fi.Mode() != want {
				t.Errorf("owners kept %v: %s has the mode %v, %v, want %v", owners, name, fi.Mode(), err, want)
			}
		}
	}
}

// TestUnpackQuotes: a name in an archive writes no line of its own.
func TestUnpackQuotes(t *testing.T) {
	for _, h := range []tar.Header{{Name: "../a\nb"}, {Name: "there/a\nb"}, {Name: "h\nb", Typeflag: tar.TypeLink, Linkname: "none\nb"}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		for _, h := range []tar.Header{{Name: "there", Typeflag: tar.TypeReg}, h} {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		if _, err := Unpack(&b, t.TempDir(), "", "", false); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", h.Name, err)
		}
	}
}
