package copying

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"pier/lib/tarheader"
)

// Pack streams a tar of the local source, with its entries below the name top. The caller closes it.
func Pack(src Info, top string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		p := &packer{tw: tar.NewWriter(w), links: map[[2]uint64]string{}}
		err := p.tree(src.Path, top)
		if err == nil {
			err = p.tw.Close()
		}
		_ = w.CloseWithError(err)
	}()
	return r
}

type packer struct {
	tw    *tar.Writer
	links map[[2]uint64]string
}

func (p *packer) tree(root, top string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && path != root {
				return nil // gone since its folder was read
			}
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := top
		if rel != "." {
			name = top + "/" + filepath.ToSlash(rel)
		}
		return p.entry(path, name, entry)
	})
}

func (p *packer) entry(path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tarheader.Of(info, name, link)
	if err != nil {
		return err
	}
	if key, links := identity(info); info.Mode().IsRegular() && links > 1 {
		if first := p.links[key]; first != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tw.WriteHeader(h)
		}
		p.links[key] = name
	}
	if !info.Mode().IsRegular() {
		return p.tw.WriteHeader(h)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.Copy(p.tw, io.LimitReader(f, h.Size)); err != nil {
		return err
	} else if n < h.Size {
		return fmt.Errorf("%s became shorter while it was read", path)
	}
	return nil
}

// identity names a file that may have several names, and how many. What stat tells differs between systems, and there are
// some that do not tell it.
func identity(info fs.FileInfo) (key [2]uint64, links uint64) {
	stat := reflect.Indirect(reflect.ValueOf(info.Sys()))
	if stat.Kind() != reflect.Struct {
		return key, 1
	}
	number := func(field string) uint64 {
		if v := stat.FieldByName(field); v.IsValid() && v.CanUint() {
			return v.Uint()
		}
		return 0
	}
	return [2]uint64{number("Dev"), number("Ino")}, number("Nlink")
}
