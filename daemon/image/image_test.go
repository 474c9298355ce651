package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/image/layer"
	"pier/daemon/store/record"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// world is an image store with all it stands on.
type world struct {
	*Store
	t      testing.TB
	dir    string
	db     *record.DB
	feed   *feed.Feed[events.Message]
	events *feed.Reader[events.Message]
}

func open(t testing.TB) *world { return openAt(t, t.TempDir()) }

func openAt(t testing.TB, dir string) *world {
	t.Helper()
	db, err := record.Open(filepath.Join(dir, "pier.db"), record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	layers, err := layer.Open(layer.Options{Root: filepath.Join(dir, "layers")})
	if err != nil {
		t.Fatal(err)
	}
	f := feed.New[events.Message](100)
	s, err := Open(context.Background(), Options{Root: filepath.Join(dir, "images"), Records: db, Layers: layers, Events: f})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Store: s, t: t, dir: dir, db: db, feed: f, events: f.Tail()}
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	_ = w.db.Close()
	_ = w.layers.Close()
}

// actions returns the events since the last call, as "action name".
func (w *world) actions() []string {
	w.t.Helper()
	var all []string
	for {
		m, _, ok := w.events.TryNext()
		if !ok {
			return all
		}
		all = append(all, string(m.Action)+" "+m.Actor.Attributes["name"])
	}
}

func layerTar(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(1e9, 0)}
		if target, ok := strings.CutPrefix(files[name], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = io.WriteString(w, files[name])
		}
	}
	_ = w.Close()
	return b.Bytes()
}

func config(t testing.TB, arch string, cmd string, layers ...[]byte) []byte {
	t.Helper()
	created := time.Unix(1_600_000_000+int64(len(cmd)), 0).UTC()
	c := dockerspec.DockerOCIImage{Image: ocispec.Image{Created: &created, Platform: ocispec.Platform{OS: "linux", Architecture: arch}}}
	c.Config.Cmd = []string{cmd}
	c.Config.Env = []string{"PATH=/bin"}
	c.Config.Labels = map[string]string{"maker": "test"}
	c.RootFS.Type = "layers"
	for n, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(l))
		c.History = append(c.History, ocispec.History{Created: &created, CreatedBy: fmt.Sprintf("step %d", n)})
	}
	c.History = append(c.History, ocispec.History{Created: &created, CreatedBy: "CMD " + cmd, EmptyLayer: true})
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// dockerArchive is an archive as Docker wrote it before version 25; the second image's first layer is a link to the
// first one's.
func dockerArchive(t testing.TB) (data []byte, ids []digest.Digest) {
	t.Helper()
	base, top := layerTar(t, map[string]string{"bin/sh": "shell", "etc/os": "linux"}), layerTar(t, map[string]string{"app": "application"})
	c1, c2 := config(t, "amd64", "sh", base), config(t, "amd64", "app", base, top)
	id1, id2 := digest.FromBytes(c1), digest.FromBytes(c2)
	manifest, _ := json.Marshal([]dockerItem{
		{Config: id1.Encoded() + ".json", RepoTags: []string{"busybox:latest", "busybox:1"}, Layers: []string{"aaa/layer.tar"}},
		{Config: id2.Encoded() + ".json", RepoTags: nil, Layers: []string{"bbb/layer.tar", "ccc/layer.tar"}},
	})
	files := map[string]string{
		"aaa/VERSION": "1.0", "aaa/json": "{}", "aaa/layer.tar": string(base), "bbb/layer.tar": "-> ../aaa/layer.tar", "ccc/layer.tar": string(top),
		id1.Encoded() + ".json": string(c1), id2.Encoded() + ".json": string(c2), "manifest.json": string(manifest), "repositories": "{}",
	}
	return layerTar(t, files), []digest.Digest{id1, id2}
}

func (w *world) load(data []byte) []string {
	w.t.Helper()
	names, err := w.Load(context.Background(), bytes.NewReader(data), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) save(refs ...string) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if err := w.Save(context.Background(), &b, refs); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadSaveLoad(t *testing.T) {
	w := open(t)
	data, ids := dockerArchive(t)
	var lines []LoadProgress
	names, err := w.Load(context.Background(), bytes.NewReader(data), func(p LoadProgress) { lines = append(lines, p) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"busybox:latest", "busybox:1", ids[1].String()}; !slices.Equal(names, want) {
		t.Fatalf("loaded %v, want %v", names, want)
	}
	if len(lines) == 0 || lines[0].Status != "Loading layer" {
		t.Errorf("progress = %v", lines)
	}
	for _, ref := range []string{"busybox", "busybox:1", "docker.io/library/busybox", ids[0].String(), ids[0].Encoded(), ids[0].Encoded()[:12], "sha256:" + ids[0].Encoded()[:8]} {
		i, err := w.Get(ref)
		if err != nil || i.ID != ids[0] {
			t.Errorf("Get(%s) = %v, %v", ref, i, err)
		}
	}
	i, err := w.Get(ids[1].String())
	if err != nil || i.Size != int64(len("shelllinuxapplication")) || len(i.Layers) != 2 || i.Config.Config.Cmd[0] != "app" {
		t.Fatalf("image = %+v, %v", i, err)
	}
	first := w.save("busybox", ids[1].String())
	if again := w.save("busybox", ids[1].String()); !bytes.Equal(first, again) {
		t.Error("two saves differ")
	}
	other := open(t)
	if names := other.load(first); !slices.Equal(names, []string{"busybox:1", "busybox:latest", ids[1].String()}) {
		t.Errorf("loaded again: %v", names)
	}
	if second := other.save("busybox", ids[1].String()); !bytes.Equal(first, second) {
		t.Error("save, load, save changed the archive")
	}
	// The same archive read as an OCI layout only.
	third := open(t)
	names = third.load(without(t, first, "manifest.json"))
	slices.Sort(names)
	if !slices.Equal(names, []string{"busybox:1", "busybox:latest", ids[1].String()}) {
		t.Errorf("loaded as a layout: %v", names)
	}
	if got := w.actions(); !slices.Contains(got, "load "+ids[0].String()) || !slices.Contains(got, "save "+ids[1].String()) || !slices.Contains(got, "tag busybox:latest") {
		t.Errorf("events: %v", got)
	}
	// And all is there after a restart.
	w.close()
	w2 := openAt(t, w.dir)
	if i, err := w2.Get("busybox:1"); err != nil || i.ID != ids[0] || len(w2.List(context.Background())) != 2 {
		t.Errorf("after a restart: %v, %v", i, err)
	}
	if again := w2.save("busybox", ids[1].String()); !bytes.Equal(first, again) {
		t.Error("the save after a restart differs")
	}
}

// without copies an archive but for one file.
func without(t testing.TB, data []byte, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			_ = w.Close()
			return b.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != name {
			_ = w.WriteHeader(h)
			_, _ = io.Copy(w, tr)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	w := open(t)
	for ref, want := range map[string]string{
		"nothere":                           "No such image: nothere:latest",
		"reg.io/a/b:tag":                    "No such image: reg.io/a/b:tag",
		"deadbeef":                          "No such image: deadbeef:latest",
		"sha256:" + strings.Repeat("a", 64): "No such image: sha256:" + strings.Repeat("a", 64),
	} {
		_, err := w.Get(ref)
		if err == nil || err.Error() != want || errkind.Of(err) != errkind.NotFound {
			t.Errorf("Get(%s) = %v, want %s", ref, err, want)
		}
	}
	for _, ref := range []string{"", "UPPER", "a b", "../etc/passwd", "-x", "x:" + strings.Repeat("t", 129)} {
		if _, err := w.Get(ref); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "invalid reference format") {
			t.Errorf("Get(%q) = %v", ref, err)
		}
	}
}

func removals(rs []image.DeleteResponse) string {
	var out []string
	for _, r := range rs {
		if r.Untagged != "" {
			out = append(out, "-"+r.Untagged)
		}
		if r.Deleted != "" {
			out = append(out, "x"+r.Deleted)
		}
	}
	return strings.Join(out, " ")
}

func TestRemove(t *testing.T) {
	w := open(t)
	ctx := context.Background()
	data, ids := dockerArchive(t)
	w.load(data)
	a, err := w.Get(ids[0].String())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := w.Get(ids[1].String())
	remove := func(ref string, o RemoveOptions, want, conflict string) {
		t.Helper()
		got, err := w.Remove(ctx, ref, o)
		if conflict != "" {
			if !errkind.Is(err, errkind.Conflict) || err.Error() != conflict {
				t.Fatalf("Remove(%s): %v, want %s", ref, err, conflict)
			}
		} else if err != nil {
			t.Fatalf("Remove(%s): %v", ref, err)
		}
		if removals(got) != want {
			t.Fatalf("Remove(%s) = %s, want %s", ref, removals(got), want)
		}
	}
	short := func(d digest.Digest) string { return d.Encoded()[:12] }
	container := strings.Repeat("c", 64)
	remove(short(a.ID), RemoveOptions{}, "", "conflict: unable to delete "+short(a.ID)+" (must be forced) - image is referenced in multiple repositories")
	remove("busybox:1", RemoveOptions{}, "-busybox:1", "")
	if err := w.Hold(container, a.ID); err != nil {
		t.Fatal(err)
	}
	remove("busybox", RemoveOptions{}, "", `conflict: unable to remove repository reference "busybox" (must force) - container cccccccccccc is using its referenced image `+short(a.ID))
	remove(a.ID.String(), RemoveOptions{}, "", "conflict: unable to delete "+short(a.ID)+" (must be forced) - image is being used by stopped container cccccccccccc")
	w.Running(container, true)
	remove(a.ID.String(), RemoveOptions{Force: true}, "", "conflict: unable to delete "+short(a.ID)+" (cannot be forced) - image is being used by running container cccccccccccc")
	remove("busybox", RemoveOptions{Force: true}, "-busybox:latest", "") // untagged, but kept for the container
	if _, err := w.Get(a.ID.String()); err != nil {
		t.Fatal(err)
	}
	if _, freed, err := w.Prune(ctx, false, nil); err != nil || freed != int64(len("application")) { // the other image goes
		t.Fatal(freed, err)
	}
	w.Release(container)
	remove(short(a.ID), RemoveOptions{}, "x"+a.ID.String()+" x"+a.Chain.String(), "")
	if len(w.List(ctx)) != 0 {
		t.Error("images are left")
	}
	if _, err := w.layers.Get(b.Chain); err == nil {
		t.Error("a layer is left")
	}
	if got := strings.Join(w.actions(), ","); !strings.HasSuffix(got, "delete "+a.ID.String()) || !strings.Contains(got, "untag "+a.ID.String()) {
		t.Errorf("events: %s", got)
	}
	blobs, _ := w.blobs.List()
	if len(blobs) != 0 {
		t.Errorf("blobs are left: %v", blobs)
	}
}

func TestTagMovesAName(t *testing.T) {
	w := open(t)
	ctx := context.Background()
	data, ids := dockerArchive(t)
	w.load(data)
	if err := w.Tag(ctx, ids[1].Encoded()[:10], "busybox"); err != nil {
		t.Fatal(err)
	}
	if i, _ := w.Get("busybox"); i.ID != ids[1] || !slices.Equal(i.RepoTags, []string{"busybox:latest"}) {
		t.Errorf("busybox = %+v", i)
	}
	if i, _ := w.Get(ids[0].String()); !slices.Equal(i.RepoTags, []string{"busybox:1"}) {
		t.Errorf("the former one = %+v", i.RepoTags)
	}
	for _, bad := range []string{"Upper", "a@sha256:" + strings.Repeat("a", 64), "sha256:abc", ""} {
		if err := w.Tag(ctx, "busybox", bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("Tag(%s) = %v", bad, err)
		}
	}
}

func TestImportAndHistory(t *testing.T) {
	w := open(t)
	ctx := context.Background()
	i, err := w.Import(ctx, bytes.NewReader(layerTar(t, map[string]string{"hello": "world"})), ImportOptions{
		Ref: "mine", Message: "brought in", Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"/hello"}}},
	})
	if err != nil || i.RepoTags[0] != "mine:latest" || i.Config.Config.Cmd[0] != "/hello" || i.Size != 5 {
		t.Fatal(i, err)
	}
	if err := i.CheckPlatform(); err != nil {
		t.Error(err)
	}
	h, err := w.History("mine")
	if err != nil || len(h) != 1 || h[0].ID != i.ID.String() || h[0].Size != 5 || h[0].Comment != "brought in" || h[0].Tags[0] != "mine:latest" {
		t.Errorf("history = %+v, %v", h, err)
	}
	data, ids := dockerArchive(t)
	w.load(data)
	h, err = w.History(ids[1].String())
	if err != nil || len(h) != 3 || h[0].CreatedBy != "CMD app" || h[0].Size != 0 || h[1].ID != "<missing>" || h[1].Size != 11 || h[2].Size != 10 {
		t.Errorf("history = %+v, %v", h, err)
	}
	i.Config.Config.Env = append(i.Config.Config.Env, "LEAK=1")
	i.Config.Config.Cmd[0] = "changed"
	if again, _ := w.Get("mine"); again.Config.Config.Cmd[0] != "/hello" {
		t.Error("a caller changed the store's own image")
	}
}

func TestLoadRefuses(t *testing.T) {
	base := layerTar(t, map[string]string{"f": "x"})
	good := config(t, "amd64", "f", base)
	items := func(items ...dockerItem) string { raw, _ := json.Marshal(items); return string(raw) }
	blob := func(data []byte) string { return "blobs/sha256/" + digest.FromBytes(data).Encoded() }
	index := func(manifest []byte, extra string) string {
		d, _ := json.Marshal(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))})
		return `{"schemaVersion":2,"manifests":[` + string(d) + `]` + extra + `}`
	}
	manifest, _ := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(good), Size: int64(len(good))},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(base), Size: int64(len(base))}}})
	both := append(bytes.TrimSuffix(slices.Clone(manifest), []byte("}")), []byte(`,"manifests":[]}`)...)
	layout := func(m []byte, extra string) map[string]string {
		return map[string]string{"index.json": index(m, extra), "oci-layout": `{"imageLayoutVersion":"1.0.0"}`, blob(m): string(m), blob(good): string(good), blob(base): string(base)}
	}
	nested, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{
		"mediaType": ocispec.MediaTypeImageManifest, "digest": digest.FromBytes(manifest), "size": len(manifest), "platform": map[string]string{"os": "linux", "architecture": "s390x"}}}})
	foreign := layout(manifest, "")
	foreign["index.json"] = strings.ReplaceAll(index(nested, ""), ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex)
	foreign[blob(nested)] = string(nested)
	tests := []struct {
		name  string
		data  []byte
		kind  errkind.Kind
		words string
	}{
		{"nothing", nil, errkind.Invalid, "neither manifest.json nor index.json"},
		{"no archive", []byte(strings.Repeat("not a tar at all ", 100)), errkind.Invalid, "not an image archive"},
		{"no manifest", base, errkind.Invalid, "neither manifest.json nor index.json"},
		{"cut", base[:300], errkind.Invalid, "damaged"},
		{"cut gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff"), errkind.Invalid, "damaged"},
		{"bad json", layerTar(t, map[string]string{"manifest.json": "[{"}), errkind.Invalid, "not valid"},
		{"missing config", layerTar(t, map[string]string{"manifest.json": items(dockerItem{Config: "c", Layers: []string{}})}), errkind.Invalid, `no file "c"`},
		{"escape", layerTar(t, map[string]string{"manifest.json": items(dockerItem{Config: "../../../../etc/passwd"})}), errkind.Invalid, "no file"},
		{"link out", layerTar(t, map[string]string{"c": "-> /etc/passwd", "manifest.json": items(dockerItem{Config: "c"})}), errkind.Invalid, "no file"},
		{"link loop", layerTar(t, map[string]string{"c": "-> d", "d": "-> c", "manifest.json": items(dockerItem{Config: "c"})}), errkind.Invalid, "no file"},
		{"layer count", layerTar(t, map[string]string{"c": string(good), "manifest.json": items(dockerItem{Config: "c"})}), errkind.Invalid, "layers length mismatch: expected 0, got 1"},
		{"wrong layer", layerTar(t, map[string]string{"c": string(good), "l": string(layerTar(t, map[string]string{"g": "y"})),
			"manifest.json": items(dockerItem{Config: "c", Layers: []string{"l"}})}), errkind.Invalid, "the archive is damaged"},
		{"bad name", layerTar(t, map[string]string{"c": string(good), "l": string(base), "manifest.json": items(dockerItem{Config: "c", Layers: []string{"l"}, RepoTags: []string{"A B"}})}), errkind.Invalid, "not a name"},
		{"windows", layerTar(t, map[string]string{"c": strings.Replace(string(good), "linux", "windows", 1), "l": string(base),
			"manifest.json": items(dockerItem{Config: "c", Layers: []string{"l"}})}), errkind.Unsupported, "windows"},
		{"blob with another digest", layerTar(t, map[string]string{blob(base): "other"}), errkind.Invalid, "has the digest"},
		{"ambiguous index", layerTar(t, layout(manifest, `,"layers":[]`)), errkind.Invalid, "ambiguous"},
		{"ambiguous manifest", layerTar(t, layout(both, "")), errkind.Invalid, "ambiguous"},
		{"no platform", layerTar(t, foreign), errkind.NotFound, "no matching manifest for linux/amd64"},
	}
	for _, tt := range tests {
		w := open(t)
		names, err := w.Load(context.Background(), bytes.NewReader(tt.data), nil)
		if errkind.Of(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: loaded %v, error %v (%v), want %s", tt.name, names, err, errkind.Of(err), tt.words)
		}
		if n := len(w.List(context.Background())); n != 0 {
			t.Errorf("%s: %d images are there", tt.name, n)
		}
		if left, _ := os.ReadDir(filepath.Join(w.dir, "layers", "chains")); len(left) != 0 {
			t.Errorf("%s: layers are left", tt.name)
		}
		if spooled, _ := os.ReadDir(filepath.Join(w.dir, "images", spoolDir)); len(spooled) != 0 {
			t.Errorf("%s: spool is left", tt.name)
		}
	}
	w := open(t)
	if names := w.load(layerTar(t, layout(manifest, ""))); len(names) != 1 {
		t.Errorf("the good layout: %v", names)
	}
	arm := config(t, "arm64", "f", base)
	names := w.load(layerTar(t, map[string]string{"c": string(arm), "l": string(base), "manifest.json": items(dockerItem{Config: "c", Layers: []string{"l"}, RepoTags: []string{"arm"}})}))
	i, err := w.Get(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := i.CheckPlatform(); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), "linux/arm64") {
		t.Errorf("CheckPlatform = %v", err)
	}
}
