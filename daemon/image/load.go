package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/registry"
	"pier/lib/errkind"
	"pier/lib/id"
)

// dockerItem is one image in the manifest.json of a docker archive.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
	// LayerSources are the descriptors by which Docker remembers layers of other registries.
	LayerSources map[digest.Digest]ocispec.Descriptor `json:",omitempty"`
}

// Load reads the images of an archive: Docker's (manifest.json, as "docker save" writes it) or an OCI image layout
// (index.json), compressed by gzip, zstd, bzip2 or not at all. It returns what was loaded: names in familiar form, or the
// ID ("sha256:...") of an image that has none. progress, if not nil, is called from this goroutine.
//
// Invalid for what is no image archive, is damaged, or whose parts contradict each other. Images before the bad one stay
// loaded, and are returned.
func (s *Store) Load(ctx context.Context, r io.Reader, progress func(LoadProgress)) ([]string, error) {
	if progress == nil {
		progress = func(LoadProgress) {}
	}
	a, err := s.newSpool(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer a.remove()
	var sources []source
	switch {
	case a.has("manifest.json"):
		sources, err = dockerSources(a)
	case a.has(ocispec.ImageIndexFile):
		sources, err = layoutSources(a)
	default:
		err = errkind.New(errkind.Invalid, "this is no image archive: it has neither manifest.json nor index.json")
	}
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var loaded []string
	for _, src := range sources {
		names, err := s.loadOne(ctx, a, src, progress)
		if err != nil {
			return loaded, fmt.Errorf("load: %w", err)
		}
		loaded = append(loaded, names...)
	}
	return loaded, nil
}

// source is one image of an archive.
type source struct {
	config string   // file in the archive
	layers []string // files, bottom first
	names  []string // canonical
}

func dockerSources(a *spool) ([]source, error) {
	var items []dockerItem
	if err := a.decode("manifest.json", &items); err != nil {
		return nil, err
	}
	var sources []source
	for _, item := range items {
		names, err := canonicalTags(item.RepoTags)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{config: item.Config, layers: item.Layers, names: names})
	}
	return sources, nil
}

func (s *Store) loadOne(ctx context.Context, a *spool, src source, progress func(LoadProgress)) ([]string, error) {
	raw, err := a.read(src.config, maxConfig)
	if err != nil {
		return nil, err
	}
	i, err := newImage(raw)
	if err != nil {
		return nil, err
	}
	diffs := i.Config.RootFS.DiffIDs
	if len(diffs) != len(src.layers) {
		return nil, errkind.New(errkind.Invalid, "invalid manifest, layers length mismatch: expected %d, got %d", len(src.layers), len(diffs))
	}
	owner := "load " + a.dir
	defer s.layers.Release(owner)
	for n, diff := range diffs {
		err := s.loadLayer(ctx, a, i, src.layers[n], diff, progress)
		if err == nil {
			err = s.layers.Hold(owner, i.Chain)
		}
		if err != nil { // what was unpacked for nothing goes at once: the disk may be full of it
			s.layers.Release(owner)
			return nil, errors.Join(fmt.Errorf("layer %d of %d: %w", n+1, len(diffs), err), s.layers.Collect(context.WithoutCancel(ctx)))
		}
	}
	return s.adopt(ctx, i, src.names, progress)
}

func (s *Store) loadLayer(ctx context.Context, a *spool, i *Image, file string, diff digest.Digest, progress func(LoadProgress)) error {
	f, err := a.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l, err := s.layers.Apply(ctx, i.Chain, &progressReader{File: f, line: registry.Progress{
		ID: id.Short(diff.String()), Status: "Loading layer", Total: info.Size(),
	}, report: progress}, diff)
	if err != nil {
		return err
	}
	i.Layers, i.Chain = append(i.Layers, l.ChainID), l.ChainID
	return nil
}

// adopt adds a loaded image with its names.
func (s *Store) adopt(ctx context.Context, i *Image, names []string, progress func(LoadProgress)) ([]string, error) {
	s.change.Lock()
	defer s.change.Unlock()
	before, err := s.keep(ctx, i, names)
	if err != nil {
		return nil, err
	}
	var shown []string
	for _, name := range names {
		if old := before[name]; old != "" && old != i.ID {
			progress(LoadProgress{Status: fmt.Sprintf("The image %s already exists, renaming the old one with ID %s to empty string", familiar(name), old)})
		}
		shown = append(shown, familiar(name))
		s.publish(events.ActionTag, i.ID.String(), i, familiar(name))
	}
	s.publish(events.ActionLoad, i.ID.String(), i, i.ID.String())
	if len(shown) == 0 {
		shown = []string{i.ID.String()}
	}
	return shown, nil
}

// progressReader reports how far a file has been read, at most every 512 KiB.
type progressReader struct {
	*os.File
	line   registry.Progress
	report func(registry.Progress)
	told   int64
}

const progressStep = 512 << 10

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.File.Read(b)
	p.line.Current += int64(n)
	if p.line.Current-p.told >= progressStep || (p.line.Current == p.line.Total && p.told < p.line.Total) {
		p.told = p.line.Current
		p.report(p.line)
	}
	return n, err
}

// nameOf returns the canonical name that an OCI descriptor's annotations give an image, "" for none. A bare tag is no
// name, for the layout does not say of what repository.
func nameOf(d ocispec.Descriptor) string {
	for _, key := range []string{"io.containerd.image.name", ocispec.AnnotationRefName} {
		v := d.Annotations[key]
		named, err := reference.ParseNormalizedNamed(v)
		if v == "" || err != nil || (key == ocispec.AnnotationRefName && reference.IsNameOnly(named)) {
			continue
		}
		if name, err := canonicalTag(v); err == nil {
			return name
		}
	}
	return ""
}
