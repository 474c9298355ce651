package tarheader

import (
	"archive/tar"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("four"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, name, target, want string
		kind                     byte
		size                     int64
	}{
		{file, "a/file", "", "a/file", tar.TypeReg, 4},
		{link, "a/link", "file", "a/link", tar.TypeSymlink, 0},
		{dir, "a", "", "a/", tar.TypeDir, 0},
		{dir, "./", "", "./", tar.TypeDir, 0},
	} {
		info, err := os.Lstat(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Of(info, tt.name, tt.target)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != tt.want || h.Typeflag != tt.kind || h.Linkname != tt.target || h.Size != tt.size || !h.ModTime.Equal(info.ModTime()) {
			t.Errorf("%s: %+v", tt.name, h)
		}
		if h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.Format != tar.FormatPAX {
			t.Errorf("%s tells where it was made: %+v", tt.name, h)
		}
	}
}

func TestPlace(t *testing.T) {
	for name, want := range map[string]string{
		"a/b": "a/b", "/a//./b/": "a/b", "./": ".", "/": ".", "": ".", "a/../b": "b", "..a": "..a",
		"..": "", "../a": "", "a/../../b": "", "/../a": "", "a\x00": "", "a\x00/../b": "",
	} {
		if got, ok := Place(name); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
}

func TestXattrs(t *testing.T) {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "a", Format: tar.FormatPAX}
	for range Xattrs(h) {
		t.Error("an attribute of nothing")
	}
	h.PAXRecords = map[string]string{"comment": "none of them"}
	SetXattr(h, "user.a", []byte("1"))
	SetXattr(h, "user.b", nil)
	got := maps.Collect(Xattrs(h))
	if len(got) != 2 || string(got["user.a"]) != "1" || got["user.b"] == nil || len(got["user.b"]) != 0 {
		t.Errorf("%q", got)
	}
}
