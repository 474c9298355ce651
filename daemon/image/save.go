package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/image/layer"
)

// Save writes the images as one tar that is both an OCI image layout and a docker archive, laid out as Docker Engine
// does since version 25. A reference without tag stands for all tags of the repository; an ID for the image without
// names. Layers that several images have are written once. The same images give the same bytes.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string) error {
	picked, err := s.pick(refs)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	owner := fmt.Sprintf("save %p", &picked) // keeps the layers while they are read
	defer s.layers.Release(owner)
	for _, p := range picked {
		if err := s.layers.Hold(owner, p.image.Chain); err != nil {
			return fmt.Errorf("save: %w", err)
		}
	}
	a := &archiveWriter{store: s, ctx: ctx, tw: tar.NewWriter(w), written: map[string]bool{}}
	for _, p := range picked {
		if err := a.image(p); err != nil {
			return fmt.Errorf("save %s: %w", p.image.ID, err)
		}
	}
	if err := a.finish(); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	for _, p := range picked {
		s.publish(events.ActionSave, p.image.ID.String(), p.image, p.image.ID.String())
	}
	return nil
}

// pick is one image to save, and the names (canonical) to save it under.
type pick struct {
	image *Image
	names []string
}

func (s *Store) pick(refs []string) ([]pick, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var picked []pick
	at := map[digest.Digest]int{}
	add := func(imageID digest.Digest, names ...string) {
		n, ok := at[imageID]
		if !ok {
			n = len(picked)
			at[imageID] = n
			picked = append(picked, pick{image: s.named(imageID)})
		}
		picked[n].names = append(picked[n].names, names...)
	}
	for _, ref := range refs {
		if names := s.tagsOf(ref); len(names) > 0 {
			for _, name := range names {
				add(s.names[name], name)
			}
			continue
		}
		imageID, name, err := s.resolve(ref)
		if err != nil {
			return nil, err
		}
		if name == "" || isDigestName(name) {
			add(imageID)
		} else {
			add(imageID, name)
		}
	}
	for n := range picked {
		picked[n].names = unique(picked[n].names)
	}
	return picked, nil
}

// archiveWriter writes the archive. Blobs go out as the images come; the documents that name them come last.
type archiveWriter struct {
	store   *Store
	ctx     context.Context
	tw      *tar.Writer
	written map[string]bool // names of entries
	index   []ocispec.Descriptor
	items   []dockerItem
	legacy  map[string]map[string]string // repositories file: repository -> tag -> ID of the top layer
}

func (a *archiveWriter) image(p pick) error {
	i := p.image
	item := dockerItem{Config: blobName(i.ID), Layers: []string{}}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: i.ID, Size: int64(len(i.RawConfig))},
		Layers: []ocispec.Descriptor{},
	}
	for _, chain := range i.Layers {
		l, err := a.store.layers.Get(chain)
		if err != nil {
			return err
		}
		if err := a.layer(l, i.Created); err != nil {
			return err
		}
		item.Layers = append(item.Layers, blobName(l.DiffID))
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.TarSize})
	}
	if err := a.file(blobName(i.ID), i.RawConfig, i.Created); err != nil {
		return err
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	d := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Platform: &ocispec.Platform{
		OS: i.Config.OS, Architecture: i.Config.Architecture, Variant: i.Config.Variant,
	}}
	if d.Platform.OS == "" || d.Platform.Architecture == "" {
		d.Platform = nil
	}
	if err := a.file(blobName(d.Digest), raw, i.Created); err != nil {
		return err
	}
	if len(p.names) == 0 {
		a.index = append(a.index, d)
	}
	for _, name := range p.names {
		named := d
		tag := name[strings.LastIndexByte(name, ':')+1:]
		named.Annotations = map[string]string{"io.containerd.image.name": name, ocispec.AnnotationRefName: tag}
		a.index = append(a.index, named)
		item.RepoTags = append(item.RepoTags, familiar(name))
		if n := len(i.Config.RootFS.DiffIDs); n > 0 {
			if a.legacy == nil {
				a.legacy = map[string]map[string]string{}
			}
			repo := strings.TrimSuffix(familiar(name), ":"+tag)
			if a.legacy[repo] == nil {
				a.legacy[repo] = map[string]string{}
			}
			a.legacy[repo][tag] = i.Config.RootFS.DiffIDs[n-1].Encoded()
		}
	}
	a.items = append(a.items, item)
	return nil
}

// layer writes one layer's tar, unless an image before had it.
func (a *archiveWriter) layer(l layer.Layer, when time.Time) error {
	name := blobName(l.DiffID)
	if a.written[name] {
		return nil
	}
	content, err := a.store.layers.Tar(a.ctx, l.ChainID)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := a.header(name, l.TarSize, when); err != nil {
		return err
	}
	_, err = io.Copy(a.tw, content)
	return err
}

func (a *archiveWriter) file(name string, data []byte, when time.Time) error {
	if a.written[name] {
		return nil
	}
	if err := a.header(name, int64(len(data)), when); err != nil {
		return err
	}
	_, err := io.Copy(a.tw, bytes.NewReader(data))
	return err
}

// header begins an entry; the folders above it come first, once.
func (a *archiveWriter) header(name string, size int64, when time.Time) error {
	if dir := path.Dir(name); dir != "." && !a.written[dir] {
		for _, d := range []string{path.Dir(dir), dir} {
			if d == "." || a.written[d] {
				continue
			}
			a.written[d] = true
			if err := a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return err
			}
		}
	}
	a.written[name] = true
	if when.Unix() < 0 {
		when = time.Unix(0, 0)
	}
	return a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: when.Truncate(time.Second)})
}

// finish writes the documents.
func (a *archiveWriter) finish() error {
	docs := []struct {
		name    string
		content any
	}{
		{ocispec.ImageIndexFile, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: a.index,
		}},
		{"manifest.json", a.items},
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
	}
	if a.legacy != nil {
		docs = append(docs, struct {
			name    string
			content any
		}{"repositories", a.legacy})
	}
	for _, doc := range docs {
		raw, err := json.Marshal(doc.content)
		if err != nil {
			return err
		}
		if err := a.file(doc.name, raw, time.Unix(0, 0)); err != nil {
			return err
		}
	}
	return a.tw.Close()
}
