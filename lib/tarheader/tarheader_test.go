package tarheader

import (
	"archive/tar"
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
