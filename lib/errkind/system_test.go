package errkind

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
)

func TestSystem(t *testing.T) {
	for _, test := range []struct {
		err, want error
	}{
		{&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrExist}, fs.ErrExist},
		{fmt.Errorf("copy: %w", &os.LinkError{Op: "link", Old: "/x", New: "/y", Err: fs.ErrPermission}), fs.ErrPermission},
		{New(Invalid, "path: %w", &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}), fs.ErrNotExist},
		{io.EOF, nil},
		{nil, nil},
	} {
		if got := System(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}
