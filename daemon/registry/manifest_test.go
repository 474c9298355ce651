package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
)

func TestParseManifest(t *testing.T) {
	d := digest.FromString("x").String()
	for _, tt := range []struct {
		name, raw, mediaType string
		kind                 errkind.Kind
	}{
		{"both", `{"schemaVersion":2,"manifests":[],"layers":[]}`, "", errkind.Invalid},
		{"both, config", `{"schemaVersion":2,"manifests":[],"config":{}}`, "", errkind.Invalid},
		{"index called manifest", `{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageManifest, errkind.Invalid},
		{"manifest called index", `{"schemaVersion":2,"config":{"digest":"` + d + `"},"layers":[]}`, ocispec.MediaTypeImageIndex, errkind.Invalid},
		{"disagreement", `{"schemaVersion":2,"mediaType":"` + MediaTypeDockerManifest + `","config":{"digest":"` + d + `"},"layers":[]}`, ocispec.MediaTypeImageManifest, errkind.Invalid},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "", errkind.Unsupported},
		{"bad digest", `{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[]}`, "", errkind.Invalid},
		{"negative size", `{"schemaVersion":2,"config":{"digest":"` + d + `","size":-1},"layers":[]}`, "", errkind.Invalid},
		{"not json", `<html>`, "", errkind.Invalid},
	} {
		if _, err := ParseManifest([]byte(tt.raw), tt.mediaType); err == nil || errkind.Of(err) != tt.kind {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestIndexesWithoutEnd(t *testing.T) {
	// Each index names twenty more, for ever.
	fetched := 0
	_, err := Choose(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString(grown(0))}, ocispec.Platform{OS: "linux", Architecture: "amd64"},
		func(d ocispec.Descriptor) ([]byte, error) {
			fetched++
			return []byte(grown(int(d.Size))), nil
		})
	if !errkind.Is(err, errkind.Invalid) || fetched > maxIndexNodes {
		t.Errorf("error %v after %d documents", err, fetched)
	}
}

// grown is an index of depth n that names others of depth n+1.
func grown(n int) string {
	if n > 8 {
		return `{"schemaVersion":2,"manifests":[]}`
	}
	next := grown(n + 1)
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, ocispec.MediaTypeImageIndex, digest.FromString(next), n+1)
	return `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(entry+",", 20), ",") + `]}`
}

func TestRelatedHosts(t *testing.T) {
	for _, tt := range []struct {
		registry, realm string
		want            bool
	}{
		{"registry-1.docker.io", "auth.docker.io", true}, {"ghcr.io", "ghcr.io", true}, {"registry.gitlab.com", "gitlab.com", true},
		{"ghcr.io", "evil.io", false}, {"a.example.com", "b.example.org", false}, {"a.co.uk", "b.co.uk", false}, {"x.a.co.uk", "y.a.co.uk", true},
		{"localhost:5000", "127.0.0.1", true}, {"r.example.com:5000", "localhost", false}, {"quay.io", "io", false},
	} {
		if got := (&guard{host: tt.registry}).related(tt.realm); got != tt.want {
			t.Errorf("related(%s, %s) = %v", tt.registry, tt.realm, got)
		}
	}
}
