// Package tarheader makes headers of tar entries that say nothing of the machine the files lie on, and reads what archive/tar
// leaves to its users: where an entry belongs, and its extended attributes.
//
// Start reading at Of.
package tarheader

import (
	"archive/tar"
	"io/fs"
	"iter"
	"path"
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

// Place is where an entry called name belongs: a clean path below the root of the archive, "." for the root itself. A name
// that leads out of it, or holds a zero byte, has no place: ok is false.
func Place(name string) (place string, ok bool) {
	place = path.Clean(strings.TrimLeft(name, "/"))
	return place, place != ".." && !strings.HasPrefix(place, "../") && strings.IndexByte(name, 0) < 0
}

// paxXattr begins the names of the PAX records that hold extended attributes.
const paxXattr = "SCHILY.xattr."

// SetXattr adds an extended attribute to a header in PAX format.
func SetXattr(h *tar.Header, name string, value []byte) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[paxXattr+name] = string(value)
}

// Xattrs yields the extended attributes of a header, in no order.
func Xattrs(h *tar.Header) iter.Seq2[string, []byte] {
	return func(yield func(name string, value []byte) bool) {
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, paxXattr); ok && !yield(name, []byte(value)) {
				return
			}
		}
	}
}
