package volume_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/volume"

	"pier/daemon/volume"
	"pier/kernel/quota"
	"pier/lib/errkind"
)

// TestSizeIsRefused: what cannot be kept to is told when a volume is made, in Docker's words, and nothing stays of it.
func TestSizeIsRefused(t *testing.T) {
	v, root, again, _ := openVolumes(t)
	probe := filepath.Join(root, ".gone-probe")
	if err := os.Mkdir(probe, 0o700); err != nil {
		t.Fatal(err)
	}
	supported := quota.Limit("probe", 1<<20, probe) == nil
	again() // removes it, and its limit
	for _, bad := range []struct {
		options map[string]string
		want    string
	}{
		{map[string]string{"size": "1m"}, "create bad: quota size requested but no quota support: "},
		{map[string]string{"size": "much"}, "create bad: invalid size: 'much'"},
		{map[string]string{"size": "-1"}, "create bad: invalid size: '-1'"},
		{map[string]string{"size": ""}, "create bad: invalid size: ''"},
		{map[string]string{"size": "1m", "o": "bind"}, "create bad: missing device in volume options"},
		{map[string]string{"size": "1m", "type": "tmpfs", "device": "tmpfs"}, "leave one of them out"},
		{map[string]string{"Size": "1m"}, `create bad: invalid option: "Size"`},
	} {
		if supported && bad.options["size"] == "1m" && len(bad.options) == 1 {
			continue
		}
		_, err := v.Create(t.Context(), api.CreateRequest{Name: "bad", DriverOpts: bad.options})
		if !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v, want %s", bad.options, err, bad.want)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	create(t, v, api.CreateRequest{Name: "unbounded", DriverOpts: map[string]string{"size": "0"}})
	if v.Sized("unbounded") {
		t.Error("0 is a size")
	}
}

// TestSize: with PIER_QUOTA_DIR, a folder on a file system with project quotas (test/vm has one), a volume takes no more
// than its size, image content included; it is released with the volume, and after a crash at any step of making it.
func TestSize(t *testing.T) {
	dir := os.Getenv("PIER_QUOTA_DIR")
	if dir == "" {
		t.Skip("needs a folder with project quotas, PIER_QUOTA_DIR")
	}
	t.Setenv("TMPDIR", dir)
	v, root, again, _ := openVolumes(t)
	sized := create(t, v, api.CreateRequest{Name: "sized", DriverOpts: map[string]string{"size": "1m"}})
	if sized.Options["size"] != "1m" || !v.Sized("sized") {
		t.Errorf("%+v", sized)
	}
	held := func(name string) bool {
		on, err := quota.Limited(filepath.Join(root, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return on
	}
	// What is gathered beside the content to become it counts as well.
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("of the image"), 0o600); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if err := v.CopyUp(t.Context(), "sized", from, "/"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Mount(t.Context(), "owner", "sized", volume.Point{}); err != nil {
		t.Fatal(err)
	}
	if on, err := quota.Limited(sized.Mountpoint); !on || err != nil || !held("sized") {
		t.Errorf("the content is not bound: %v, %v", on, err)
	}
	if err := v.Unmount("owner", "sized"); err != nil {
		t.Fatal(err)
	}
	// Its file system keeps to it no more.
	if err := quota.Release(filepath.Join(root, "sized")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Mount(t.Context(), "owner", "sized", volume.Point{}); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), sized.Mountpoint) {
		t.Errorf("a bound that is not kept to: %v", err)
	}
	if err := v.Remove(t.Context(), "sized", false); err != nil {
		t.Fatal(err)
	}
	// A crash before the folder has its name, and one after it was buried.
	half := filepath.Join(root, ".gone-half")
	if err := os.Mkdir(half, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := quota.Limit("half", 1<<20, half); err != nil {
		t.Fatal(err)
	}
	number, err := os.Open(half) // the number, though the folder goes
	if err != nil {
		t.Fatal(err)
	}
	defer number.Close()
	again()
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left: %v", err)
	}
	if on, err := quota.Limited("/proc/self/fd/" + fmt.Sprint(number.Fd())); on || err != nil {
		t.Errorf("its limit is left: %v", err)
	}
}
