package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPropagation(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	inside := filepath.Join(dir, "inside")
	must(t, os.Mkdir(inside, 0o755))
	for _, want := range []struct {
		flag          uintptr
		shared, slave bool
	}{
		{unix.MS_PRIVATE, false, false},
		{unix.MS_SHARED, true, false},
		{unix.MS_PRIVATE, false, false},
	} {
		must(t, unix.Mount("", dir, "", want.flag, ""))
		shared, slave, err := Propagation(inside)
		if err != nil || shared != want.shared || slave != want.slave {
			t.Errorf("flag %#x: shared %v, slave %v, %v", want.flag, shared, slave, err)
		}
	}
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, "")) // a slave is what a bind of something shared can become
	bound := t.TempDir()
	must(t, unix.Mount(dir, bound, "", unix.MS_BIND, ""))
	defer unix.Unmount(bound, unix.MNT_DETACH)
	must(t, unix.Mount("", bound, "", unix.MS_SLAVE, ""))
	if shared, slave, err := Propagation(filepath.Join(bound, "inside")); err != nil || shared || !slave {
		t.Errorf("slave: shared %v, slave %v, %v", shared, slave, err)
	}
	if _, _, err := Propagation(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nowhere: %v", err)
	}
}
