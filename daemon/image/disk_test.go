package image

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"pier/kernel/mount"
	"pier/lib/errkind"
)

// TestFullDisk: a load that does not fit says so, leaves nothing behind and loses nothing.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	f, err := mount.Filesystem("tmpfs", map[string]string{"size": "8m"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Attach(f, dir); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	t.Cleanup(func() {
		if err := mount.Unmount(dir, true); err != nil {
			t.Error(err)
		}
	})
	w := openAt(t, dir)
	small, ids := dockerArchive(t)
	w.load(small)
	for _, size := range []int{3 << 20, 12 << 20} { // fails while it is unpacked, and while it is spooled
		base := layerTar(t, map[string]string{"big": strings.Repeat("x", size)})
		data := layerTar(t, map[string]string{"c": string(config(t, "amd64", "f", base)), "l": string(base), "manifest.json": `[{"Config":"c","Layers":["l"]}]`})
		if size == 3<<20 {
			filler := layerTar(t, map[string]string{"fill": strings.Repeat("y", 2<<20)})
			if _, err := w.Import(context.Background(), bytes.NewReader(filler), ImportOptions{Ref: "filler"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Load(context.Background(), bytes.NewReader(data), nil); !errkind.Is(err, errkind.Exhausted) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	if _, err := w.Remove(context.Background(), "filler", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, i := range ids {
		if _, err := w.Get(i.String()); err != nil {
			t.Error(err)
		}
	}
	if archive := w.save("busybox"); len(archive) == 0 {
		t.Error("nothing saved")
	}
	if n := len(w.List(context.Background())); n != len(ids) {
		t.Errorf("%d images", n)
	}
}
