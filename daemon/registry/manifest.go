package registry

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
)

// Media types of Docker's own forms of the OCI documents.
const (
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// MaxManifest is the size in bytes beyond which a manifest or index is refused. Registries must take 4 MiB.
const MaxManifest = 8 << 20

// An index may contain indexes. Both bounds are far above what anybody makes and keep a graph of documents that name
// each other from being walked for ever.
const (
	maxIndexDepth = 4
	maxIndexNodes = 256
	maxLayers     = 1000
)

// Document is a parsed manifest or index: exactly one field is set.
type Document struct {
	Manifest *ocispec.Manifest
	Index    *ocispec.Index
}

// ParseManifest decodes raw. mediaType is what the transport said it is, "" where it says nothing; the document's own
// mediaType field must agree. Invalid where it could be read as both a manifest and an index, for then two readers may
// see two different images (CVE-2021-41190); Unsupported for Docker's schema 1.
func ParseManifest(raw []byte, mediaType string) (Document, error) {
	if len(raw) > MaxManifest {
		return Document{}, errkind.New(errkind.Invalid, "manifest of more than %d bytes", MaxManifest)
	}
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return Document{}, errkind.New(errkind.Invalid, "manifest is not valid: %w", err)
	}
	said := mediaType
	if said == "" {
		said = probe.MediaType
	}
	switch {
	case probe.SchemaVersion == 1 || probe.FSLayers != nil || said == mediaTypeDockerSchema1 || said == mediaTypeDockerSigned1:
		return Document{}, errkind.New(errkind.Unsupported, "manifest is of Docker's schema 1, which is no longer supported; push the image again with a newer client")
	case probe.MediaType != "" && probe.MediaType != said:
		return Document{}, errkind.New(errkind.Invalid, "manifest calls itself %q but came as %q", probe.MediaType, said)
	case probe.Manifests != nil && (probe.Layers != nil || probe.Config != nil):
		return Document{}, errkind.New(errkind.Invalid, "ambiguous manifest: it has both manifests and layers")
	}
	index := probe.Manifests != nil
	switch said {
	case ocispec.MediaTypeImageIndex, MediaTypeDockerIndex:
		if !index {
			return Document{}, errkind.New(errkind.Invalid, "manifest came as an index but has no manifests")
		}
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest:
		if index {
			return Document{}, errkind.New(errkind.Invalid, "manifest came as an image but is an index")
		}
	}
	if index {
		var i ocispec.Index
		if err := json.Unmarshal(raw, &i); err != nil {
			return Document{}, errkind.New(errkind.Invalid, "image index is not valid: %w", err)
		}
		return Document{Index: &i}, nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Document{}, errkind.New(errkind.Invalid, "manifest is not valid: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return Document{}, errkind.New(errkind.Invalid, "manifest has more than %d layers", maxLayers)
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
			return Document{}, errkind.New(errkind.Invalid, "manifest names bad content %q of %d bytes", string(d.Digest), d.Size)
		}
	}
	return Document{Manifest: &m}, nil
}

// Choice is the manifest that Choose found.
type Choice struct {
	ocispec.Manifest
	// Descriptor is the manifest's own.
	Descriptor ocispec.Descriptor
}

// Choose walks from top, a manifest or an index, to the manifest of an image for platform. fetch returns the content of
// a descriptor; Choose verifies its digest. NotFound where an index has nothing for the platform; a nil Choice where top
// is something else than an image (an attestation, an artifact).
func Choose(top ocispec.Descriptor, platform ocispec.Platform, fetch func(ocispec.Descriptor) ([]byte, error)) (*Choice, error) {
	nodes := 0
	return choose(top, platform, fetch, 0, &nodes)
}

func choose(d ocispec.Descriptor, platform ocispec.Platform, fetch func(ocispec.Descriptor) ([]byte, error), depth int, nodes *int) (*Choice, error) {
	if *nodes++; depth > maxIndexDepth || *nodes > maxIndexNodes {
		return nil, errkind.New(errkind.Invalid, "image index is nested too deep or too wide")
	}
	raw, err := fetch(d)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, errkind.New(errkind.Invalid, "manifest has the digest %s, expected is %s", got, d.Digest)
	}
	doc, err := ParseManifest(raw, d.MediaType)
	if err != nil {
		return nil, err
	}
	if doc.Manifest != nil {
		if !isImage(*doc.Manifest) {
			return nil, nil
		}
		return &Choice{Manifest: *doc.Manifest, Descriptor: d}, nil
	}
	exact, nested := candidates(doc.Index.Manifests, platform)
	for _, c := range append(exact, nested...) {
		found, err := choose(c, platform, fetch, depth+1, nodes)
		if err != nil && !errkind.Is(err, errkind.NotFound) {
			return nil, err
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, errkind.New(errkind.NotFound, "no matching manifest for %s in the manifest list entries", platformName(platform))
}

// candidates are the entries for the platform, best first, and those that do not say what they are for.
func candidates(all []ocispec.Descriptor, want ocispec.Platform) (exact, unsaid []ocispec.Descriptor) {
	var others []ocispec.Descriptor
	for _, d := range all {
		switch p := d.Platform; {
		case d.Annotations["vnd.docker.reference.type"] == "attestation-manifest":
		case p == nil:
			unsaid = append(unsaid, d)
		case p.OS != want.OS || p.Architecture != want.Architecture:
		case want.Variant == "" || p.Variant == want.Variant || normalVariant(*p) == normalVariant(want):
			exact = append(exact, d)
		default:
			others = append(others, d)
		}
	}
	return append(exact, others...), unsaid
}

// normalVariant fills in the variant that an architecture has where none is said.
func normalVariant(p ocispec.Platform) string {
	if p.Variant == "" {
		switch p.Architecture {
		case "arm64":
			return "v8"
		case "arm":
			return "v7"
		}
	}
	return p.Variant
}

func platformName(p ocispec.Platform) string {
	s := fmt.Sprintf("%s/%s", p.OS, p.Architecture)
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// isImage reports whether the manifest is of a container image, not of another artifact.
func isImage(m ocispec.Manifest) bool {
	switch m.Config.MediaType {
	case ocispec.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json", "":
	default:
		return false
	}
	for _, l := range m.Layers {
		if l.MediaType == "application/vnd.in-toto+json" {
			return false
		}
	}
	return true
}
