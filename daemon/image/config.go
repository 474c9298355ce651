package image

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
)

// maxConfig bounds an image configuration; registries allow 4 MiB for a manifest.
const maxConfig = 8 << 20

// newImage decodes a configuration and gives it its ID. Names, layers and size are the caller's to add.
func newImage(raw []byte) (*Image, error) {
	if len(raw) > maxConfig {
		return nil, errkind.New(errkind.Invalid, "image configuration of more than %d bytes", maxConfig)
	}
	i := &Image{ID: digest.FromBytes(raw), RawConfig: slices.Clone(raw)}
	if err := json.Unmarshal(raw, &i.Config); err != nil {
		return nil, errkind.New(errkind.Invalid, "image configuration is not valid: %w", err)
	}
	if t := i.Config.RootFS.Type; t != "" && t != "layers" {
		return nil, errkind.New(errkind.Unsupported, "image configuration: root file system of the unknown type %q", t)
	}
	if os := i.Config.OS; os != "" && os != "linux" {
		return nil, errkind.New(errkind.Unsupported, "image is for operating system %q, this is linux", os)
	}
	for _, d := range i.Config.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, errkind.New(errkind.Invalid, "image configuration: bad layer digest %q", string(d))
		}
	}
	if i.Config.Created != nil {
		i.Created = *i.Config.Created
	}
	return i, nil
}

// checkChain compares the layers given for an image with those that its configuration names.
func checkChain(i *Image, layers []digest.Digest) error {
	want := identity.ChainIDs(slices.Clone(i.Config.RootFS.DiffIDs))
	if !slices.Equal(want, layers) {
		return errkind.New(errkind.Invalid, "image %s names %d layers, and they are not the %d given", i.ID, len(want), len(layers))
	}
	return nil
}

// CheckPlatform reports whether processes of the image can run here: Unsupported, in words for the user, where it was
// made for another architecture. An image that names none is taken for this machine's.
func (i *Image) CheckPlatform() error {
	host := HostPlatform()
	if a := i.Config.Architecture; a != "" && a != host.Architecture {
		return errkind.New(errkind.Unsupported, "image %s is for %s, and this machine is %s; build or pull it for --platform %s",
			i.display(), formatPlatform(i.Config.Platform), formatPlatform(host), formatPlatform(host))
	}
	return nil
}

// display is what to call the image in a message.
func (i *Image) display() string {
	if len(i.RepoTags) > 0 {
		return i.RepoTags[0]
	}
	return i.ID.String()
}

// HostPlatform is the platform whose images run on this machine.
func HostPlatform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

func formatPlatform(p ocispec.Platform) string {
	s := p.OS
	if s == "" {
		s = "linux"
	}
	s += "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// clone copies what callers may change; RawConfig is shared.
func (i *Image) clone() *Image {
	c := *i
	c.RepoTags, c.RepoDigests, c.Layers = slices.Clone(i.RepoTags), slices.Clone(i.RepoDigests), slices.Clone(i.Layers)
	if i.Config.Created != nil {
		created := *i.Config.Created
		c.Config.Created = &created
	}
	c.Config.OSFeatures = slices.Clone(i.Config.OSFeatures)
	c.Config.RootFS.DiffIDs = slices.Clone(i.Config.RootFS.DiffIDs)
	c.Config.History = slices.Clone(i.Config.History)
	c.Config.Config = cloneConfig(i.Config.Config)
	return &c
}

func cloneConfig(c dockerspec.DockerOCIImageConfig) dockerspec.DockerOCIImageConfig {
	c.ExposedPorts, c.Volumes, c.Labels = maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes), maps.Clone(c.Labels)
	c.Env, c.Entrypoint, c.Cmd = slices.Clone(c.Env), slices.Clone(c.Entrypoint), slices.Clone(c.Cmd)
	c.OnBuild, c.Shell = slices.Clone(c.OnBuild), slices.Clone(c.Shell)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	return c
}
