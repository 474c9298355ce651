package image

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/registry"
	"pier/lib/errkind"
)

// layoutSources finds the images of an OCI image layout: for each entry of index.json the one manifest that is for this
// machine.
func layoutSources(a *spool) ([]source, error) {
	raw, err := a.read(ocispec.ImageIndexFile, maxConfig)
	if err != nil {
		return nil, err
	}
	top, err := registry.ParseManifest(raw, "")
	if err != nil {
		return nil, err
	}
	if top.Index == nil {
		return nil, errkind.New(errkind.Invalid, "index.json is not an image index")
	}
	var sources []source
	at := map[digest.Digest]int{}
	for _, d := range top.Index.Manifests {
		src, err := layoutSource(a, d)
		if err != nil {
			return nil, err
		}
		if src == nil {
			continue
		}
		name := nameOf(d)
		if n, ok := at[d.Digest]; ok { // one image under several names
			if name != "" {
				sources[n].names = append(sources[n].names, name)
			}
			continue
		}
		if name != "" {
			src.names = []string{name}
		}
		at[d.Digest] = len(sources)
		sources = append(sources, *src)
	}
	if len(sources) == 0 {
		return nil, errkind.New(errkind.NotFound, "the image archive holds no image for %s", formatPlatform(HostPlatform()))
	}
	return sources, nil
}

// layoutSource turns one entry of index.json into an image; nil where it is none, such as an attestation.
func layoutSource(a *spool, d ocispec.Descriptor) (*source, error) {
	fetch := func(d ocispec.Descriptor) ([]byte, error) {
		if err := d.Digest.Validate(); err != nil {
			return nil, errkind.New(errkind.Invalid, "bad digest %q", string(d.Digest))
		}
		return a.read(blobName(d.Digest), maxConfig)
	}
	m, err := registry.Choose(d, HostPlatform(), fetch)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, nil
	}
	src := &source{config: blobName(m.Config.Digest)}
	for _, l := range m.Layers {
		src.layers = append(src.layers, blobName(l.Digest))
	}
	return src, nil
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }
