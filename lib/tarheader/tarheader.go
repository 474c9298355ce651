// Package tarheader makes headers of tar entries that say nothing of the machine the files lie on.
//
// Start reading at Of.
package tarheader

import (
	"archive/tar"
	"io/fs"
	"strings"
	"time"
)

// Of returns the header, in PAX format, of an entry called name that is what info says; target is where a symbolic link
// leads. The name of a folder ends with a slash. The names of owner and group are left out, and not looked up: they mean
// nothing in another place, whose numbers are its own. So are the times of access and change. Errors are those of
// tar.FileInfoHeader, which sockets get.
func Of(info fs.FileInfo, name, target string) (*tar.Header, error) {
	h, err := tar.FileInfoHeader(nameless{info}, target)
	if err != nil {
		return nil, err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if info.IsDir() {
		h.Name = strings.TrimSuffix(name, "/") + "/"
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	return h, nil
}

// nameless keeps tar.FileInfoHeader from looking up the names of owner and group.
type nameless struct{ fs.FileInfo }

func (nameless) Uname() (string, error) { return "", nil }
func (nameless) Gname() (string, error) { return "", nil }
