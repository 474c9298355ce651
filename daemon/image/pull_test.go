package image

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/registry"
	"pier/daemon/registry/registrytest"
	"pier/lib/errkind"
)

// upstream is our own registry on loopback.
type upstream struct {
	t    testing.TB
	host string
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	return &upstream{t, registrytest.Start(t, nil)}
}

func (u *upstream) blob(repo, mediaType string, data []byte) ocispec.Descriptor {
	u.t.Helper()
	return ocispec.Descriptor{MediaType: mediaType, Digest: registrytest.PushBlob(u.t, u.host, repo, data), Size: int64(len(data))}
}

func (u *upstream) manifest(repo, ref, mediaType string, doc any) ocispec.Descriptor {
	u.t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		u.t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: registrytest.PushManifest(u.t, u.host, repo, ref, mediaType, raw), Size: int64(len(raw))}
}

func (u *upstream) image(repo, ref, arch string, layers ...[]byte) ocispec.Descriptor {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	m.Config = u.blob(repo, ocispec.MediaTypeImageConfig, config(u.t, arch, "run", layers...))
	for n, l := range layers {
		var b bytes.Buffer
		var w io.WriteCloser = gzip.NewWriter(&b)
		mediaType := ocispec.MediaTypeImageLayerGzip
		if n%2 == 1 {
			w, _ = zstd.NewWriter(&b)
			mediaType = ocispec.MediaTypeImageLayerZstd
		}
		_, _ = w.Write(l)
		_ = w.Close()
		m.Layers = append(m.Layers, u.blob(repo, mediaType, b.Bytes()))
	}
	d := u.manifest(repo, ref, m.MediaType, m)
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	return d
}

func TestPull(t *testing.T) {
	u, w := newUpstream(t), open(t)
	ctx := context.Background()
	base, same, top := layerTar(t, map[string]string{"a": "1"}), layerTar(t, nil), layerTar(t, map[string]string{"b": "2"})
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		u.image("team/app", "", "arm64", layerTar(t, map[string]string{"arm": "x"})),
		u.image("team/app", "", "amd64", base, same, same, top), // one layer twice
	}}
	indexDigest := u.manifest("team/app", "v1", index.MediaType, index).Digest
	var lines []string
	i, err := w.Pull(ctx, u.host+"/team/app:v1", PullOptions{}, func(p registry.Progress) { lines = append(lines, p.Status) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(i.RepoTags, []string{u.host + "/team/app:v1"}) || !slices.Equal(i.RepoDigests, []string{u.host + "/team/app@" + indexDigest.String()}) {
		t.Errorf("names: %v %v", i.RepoTags, i.RepoDigests)
	}
	if len(i.Layers) != 4 || i.Size != 2 || i.Config.Architecture != "amd64" {
		t.Errorf("image: %+v", i)
	}
	for _, want := range []string{"Pulling from team/app", "Pulling fs layer", "Download complete", "Pull complete", "Digest: " + indexDigest.String(),
		"Status: Downloaded newer image for " + u.host + "/team/app:v1"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in %q", want, lines)
		}
	}
	if left, _ := w.blobs.List(); len(left) != 0 {
		t.Errorf("blobs: %v", left)
	}
	lines = nil
	if _, err := w.Pull(ctx, u.host+"/team/app@"+indexDigest.String(), PullOptions{}, func(p registry.Progress) { lines = append(lines, p.Status) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(lines, "Already exists") || !strings.HasPrefix(lines[len(lines)-1], "Status: Image is up to date") {
		t.Errorf("second pull: %q", lines)
	}
	arm, err := w.Pull(ctx, u.host+"/team/app:v1", PullOptions{Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}, nil)
	if err != nil || arm.Config.Architecture != "arm64" {
		t.Errorf("the other platform: %v", err)
	}
	if now, _ := w.Get(i.ID.String()); len(now.RepoTags) != 0 {
		t.Errorf("the name did not move: %v", now.RepoTags)
	}
	// What was pulled can be saved and loaded.
	other := open(t)
	if names := other.load(w.save(i.ID.String())); !slices.Equal(names, []string{i.ID.String()}) {
		t.Errorf("loaded %v", names)
	}
	if got := w.actions(); !slices.Contains(got, "pull "+u.host+"/team/app") {
		t.Errorf("events: %v", got)
	}
}

func TestPullRefuses(t *testing.T) {
	u, w := newUpstream(t), open(t)
	u.image("only/arm", "latest", "arm64", layerTar(t, map[string]string{"a": "1"}))
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{u.image("some", "", "s390x", layerTar(t, nil))}}
	u.manifest("some", "latest", index.MediaType, index)
	amd := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	for _, tt := range []struct {
		ref   string
		o     PullOptions
		kind  errkind.Kind
		words string
	}{
		{u.host + "/none", PullOptions{}, errkind.NotFound, "manifest unknown"},
		{u.host + "/some", PullOptions{}, errkind.NotFound, "no matching manifest for linux/amd64 in the manifest list entries"},
		{u.host + "/only/arm", PullOptions{Platform: amd}, errkind.NotFound, "does not match the specified platform (linux/amd64)"},
		{"127.0.0.1:1/x", PullOptions{}, errkind.Unavailable, "cannot be reached"},
		{u.host + "/Bad Name", PullOptions{}, errkind.Invalid, "invalid reference format"},
	} {
		if _, err := w.Pull(context.Background(), tt.ref, tt.o, nil); errkind.Of(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("Pull(%s) = %v (%v)", tt.ref, err, errkind.Of(err))
		}
	}
	if n := len(w.List(context.Background())); n != 0 {
		t.Errorf("%d images", n)
	}
}
