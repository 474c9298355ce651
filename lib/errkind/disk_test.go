package errkind

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

func TestOfDisk(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/x", Err: errors.New("no space left on device")}
	if err := OfDisk("store blob", full); Of(err) != Exhausted || !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
	if err := OfDisk("store blob", New(Invalid, "digest")); Of(err) != Invalid || err.Error() != "store blob: digest" {
		t.Errorf("something else: %v", err)
	}
	if DiskFull(nil) || DiskFull(io.EOF) {
		t.Error("no full disk is one")
	}
}
