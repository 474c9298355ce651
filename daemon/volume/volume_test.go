package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/volume"

	"pier/daemon/store/record"
	"pier/daemon/volume"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/feed"
)

func openVolumes(t *testing.T) (v *volume.Volumes, root string, again func() *volume.Volumes, seen func() string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they mount")
	}
	dir := t.TempDir()
	root = filepath.Join(dir, "volumes")
	db, err := record.Open(filepath.Join(dir, "test.db"), record.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	log := feed.New[events.Message](64)
	reader := log.Head()
	again = func() *volume.Volumes {
		v, err := volume.Open(volume.Options{Root: root, Records: db, Events: log})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	seen = func() string {
		var words []string
		for {
			m, _, ok := reader.TryNext()
			if !ok {
				return strings.Join(words, " ")
			}
			words = append(words, string(m.Action))
		}
	}
	return again(), root, again, seen
}

func create(t *testing.T, v *volume.Volumes, r api.CreateRequest) api.Volume {
	t.Helper()
	got, err := v.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLifeOfAVolume(t *testing.T) {
	v, root, again, seen := openVolumes(t)
	data := create(t, v, api.CreateRequest{Name: "data", Labels: map[string]string{"a": "b"}})
	if data.Mountpoint != filepath.Join(root, "data", "_data") || data.Driver != "local" || data.Scope != "local" {
		t.Errorf("%+v", data)
	}
	if same := create(t, v, api.CreateRequest{Name: "data"}); same.Labels["a"] != "b" {
		t.Error("creating it again made another")
	}
	anonymous := create(t, v, api.CreateRequest{})
	if _, ok := anonymous.Labels["com.docker.volume.anonymous"]; !ok || len(anonymous.Name) != 64 {
		t.Errorf("%+v", anonymous)
	}
	for _, bad := range []string{"a", "../x", "a/b", ".ab", "-ab", "a b", strings.Repeat("a", 256), "a\x00b"} {
		if _, err := v.Create(t.Context(), api.CreateRequest{Name: bad}); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	if err := v.Hold("c1", "data"); err != nil {
		t.Fatal(err)
	}
	if err := v.Remove(t.Context(), "data", true); !errkind.Is(err, errkind.Conflict) || err.Error() != "remove data: volume is in use - [c1]" {
		t.Errorf("%v", err)
	}
	if path, err := v.Mount(t.Context(), "c1", "data", volume.Point{}); err != nil || path != data.Mountpoint {
		t.Errorf("%s %v", path, err)
	}
	if err := os.WriteFile(filepath.Join(data.Mountpoint, "f"), make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Unmount("c1", "data"); err != nil {
		t.Error(err)
	}
	v = again() // the daemon restarts; references come from the engine
	if got, err := v.Get("data"); err != nil || got.Labels["a"] != "b" {
		t.Errorf("%+v %v", got, err)
	}
	dangling := false
	_ = v.Hold("c1", "data")
	if l := v.List(volume.Filter{Dangling: &dangling, Labels: []string{"a=b"}}); len(l) != 1 || l[0].Name != "data" {
		t.Errorf("%+v", l)
	}
	if names := v.Release("c1"); len(names) != 1 || names[0] != "data" {
		t.Errorf("%v", names)
	}
	report, err := v.Prune(t.Context(), volume.Filter{}, false)
	if err != nil || len(report.VolumesDeleted) != 1 || report.VolumesDeleted[0] != anonymous.Name {
		t.Errorf("%+v %v", report, err)
	}
	report, err = v.Prune(t.Context(), volume.Filter{}, true)
	if err != nil || len(report.VolumesDeleted) != 1 || report.SpaceReclaimed < 8192 {
		t.Errorf("%+v %v", report, err)
	}
	if _, err := v.Get("data"); !errkind.Is(err, errkind.NotFound) || err.Error() != "get data: no such volume" {
		t.Errorf("%v", err)
	}
	if err := v.Remove(t.Context(), "data", false); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("%v", err)
	}
	if err := v.Remove(t.Context(), "data", true); err != nil {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(root); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if want := "create create mount unmount destroy prune destroy prune"; seen() != want {
		t.Errorf("events differ from %q", want)
	}
}

func TestCrashLeavesWholeVolumesOnly(t *testing.T) {
	v, root, again, _ := openVolumes(t)
	create(t, v, api.CreateRequest{Name: "kept"})
	create(t, v, api.CreateRequest{Name: "lost"})
	for _, dir := range []string{".gone-x/_data/d", "restored/_data", "noise"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "lost")); err != nil {
		t.Fatal(err)
	}
	v = again()
	var names []string
	for _, one := range v.List(volume.Filter{}) {
		names = append(names, one.Name)
	}
	if got := strings.Join(names, " "); got != "kept restored" {
		t.Errorf("volumes: %s", got)
	}
	if _, err := os.Stat(filepath.Join(root, ".gone-x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removal was not finished: %v", err)
	}
}

func TestParallelCreateAndRemove(t *testing.T) {
	v, root, _, _ := openVolumes(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 20 {
				if _, err := v.Create(t.Context(), api.CreateRequest{Name: "same"}); err != nil {
					t.Error(err)
				}
				if err := v.Remove(t.Context(), "same", true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if left, _ := os.ReadDir(root); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCopyUpOnceAndInsideTheImage(t *testing.T) {
	v, root, _, _ := openVolumes(t)
	image := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for _, err := range []error{
		os.WriteFile(secret, []byte("host"), 0o600),
		os.MkdirAll(filepath.Join(image, "srv/data/sub"), 0o755),
		os.WriteFile(filepath.Join(image, "srv/data/f"), []byte("x"), 0o640),
		os.Chown(filepath.Join(image, "srv/data/f"), 12, 34),
		os.Chmod(filepath.Join(image, "srv/data/f"), os.ModeSetuid|0o751),
		os.Link(filepath.Join(image, "srv/data/f"), filepath.Join(image, "srv/data/sub/g")),
		os.Symlink(secret, filepath.Join(image, "srv/data/link")),
		os.Symlink("/srv/data", filepath.Join(image, "alias")),
		os.Symlink(filepath.Dir(secret), filepath.Join(image, "out")),
		os.Chown(filepath.Join(image, "srv/data"), 56, 78),
		os.Chmod(filepath.Join(image, "srv/data"), os.ModeSticky|0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	vol := create(t, v, api.CreateRequest{Name: "vol"})
	if err := v.CopyUp(t.Context(), "vol", dir, "/alias"); err != nil {
		t.Fatal(err)
	}
	fi := func(name string) os.FileInfo {
		t.Helper()
		fi, err := os.Lstat(filepath.Join(vol.Mountpoint, name))
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	if a := fsroot.AttrOf(fi("f")); a.UID != 12 || a.GID != 34 || fi("f").Mode() != os.ModeSetuid|0o751 || !os.SameFile(fi("f"), fi("sub/g")) {
		t.Errorf("file: %+v %v", a, fi("f").Mode())
	}
	if a := fsroot.AttrOf(fi("")); a.UID != 56 || a.GID != 78 || fi("").Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("folder: %+v %v", a, fi("").Mode())
	}
	if to, err := os.Readlink(filepath.Join(vol.Mountpoint, "link")); err != nil || to != secret {
		t.Errorf("link: %s %v", to, err)
	}
	// Emptied by its user, it stays empty.
	if err := os.RemoveAll(vol.Mountpoint); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(vol.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := v.CopyUp(t.Context(), "vol", dir, "/srv/data"); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(vol.Mountpoint); len(left) != 0 {
		t.Error("it was filled twice")
	}
	// A path that leaves the image finds nothing; one that is missing is no error.
	evil := create(t, v, api.CreateRequest{Name: "evil"})
	for _, path := range []string{"/out", "/../../etc", "/nosuch", "/srv/data/f"} {
		if err := v.CopyUp(t.Context(), "evil", dir, path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, _ := os.ReadDir(evil.Mountpoint); len(left) != 0 {
		t.Errorf("content of the host: %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "vol")); len(left) != 1 {
		t.Errorf("left beside the content: %v", left)
	}
}

func TestVolumesWithFileSystems(t *testing.T) {
	v, _, again, _ := openVolumes(t)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []map[string]string{{"device": "x"}, {"type": "tmpfs"}, {"nosuch": "x"}, {"type": "none", "o": "bind", "device": "relative"}} {
		if _, err := v.Create(t.Context(), api.CreateRequest{Name: "bad", DriverOpts: bad}); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	create(t, v, api.CreateRequest{Name: "mem", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,noexec"}})
	create(t, v, api.CreateRequest{Name: "bound", DriverOpts: map[string]string{"type": "none", "device": host, "o": "bind"}})
	mounted := func(path string) bool {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(b), " "+path+" ")
	}
	for _, name := range []string{"mem", "bound"} {
		var path string
		for _, owner := range []string{"c1", "c2"} {
			var err error
			if path, err = v.Mount(t.Context(), owner, name, volume.Point{}); err != nil {
				t.Fatal(err)
			}
		}
		if !mounted(path) {
			t.Errorf("%s is not mounted", name)
		}
		v = again() // what is mounted is found again
		for i, owner := range []string{"c1", "c2"} {
			if _, err := v.Mount(t.Context(), owner, name, volume.Point{}); err != nil {
				t.Fatal(err)
			}
			if name == "bound" && i == 0 {
				if _, err := os.Stat(filepath.Join(path, "f")); err != nil {
					t.Error(err)
				}
			}
		}
		_ = v.Unmount("c1", name)
		if !mounted(path) {
			t.Errorf("%s was unmounted under its other user", name)
		}
		_ = v.Unmount("c2", name)
		if mounted(path) {
			t.Errorf("%s stays mounted", name)
		}
		if err := v.Remove(t.Context(), name, false); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(host, "f")); err != nil {
		t.Errorf("removing a bound volume took the host's files: %v", err)
	}
}
