package image

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/registry"
	"pier/lib/errkind"
	"pier/lib/id"
)

// parallelLayers is how many layers of one image come at a time; each can come in several ranges.
const parallelLayers = 3

// Pull fetches an image by name[:tag] or name@digest from its registry and gives it that name. Layers that are here are
// not fetched; several come at a time, and each is unpacked as soon as it and the ones below it are here. progress, if
// not nil, gets lines in Docker's words, one at a time. A pull that broke off goes on where it was when it is tried
// again. Errors: NotFound for an unknown image or one without the platform asked for, Unavailable for a registry that
// does not answer, Invalid for content that does not have its digest, Exhausted for a full disk.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions, progress func(registry.Progress)) (*Image, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%w", err)
	}
	named = reference.TagNameOnly(named)
	p := &pull{store: s, progress: progress}
	platform := HostPlatform()
	if o.Platform != nil {
		platform = *o.Platform
	}
	if p.session, err = s.client.Open(ctx, named, o.Auth); err != nil {
		return nil, err
	}
	wanted := ""
	switch n := named.(type) {
	case reference.Digested:
		wanted = n.Digest().String()
	case reference.Tagged:
		wanted = n.Tag()
	}
	p.say(registry.Progress{ID: wanted, Status: "Pulling from " + reference.Path(named)})
	top, choice, err := p.session.Choose(ctx, wanted, platform)
	if err != nil {
		return nil, err
	}
	i, err := p.image(ctx, choice)
	if err != nil {
		return nil, err
	}
	if o.Platform != nil && i.Config.Architecture != "" && i.Config.Architecture != platform.Architecture {
		return nil, errkind.New(errkind.NotFound, "image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			ref, formatPlatform(i.Config.Platform), formatPlatform(platform))
	}
	if err := p.layers(ctx, i, choice.Layers); err != nil {
		return nil, err
	}
	kept, err := s.keepPulled(ctx, i, named, top.Digest, p)
	if err != nil {
		return nil, err
	}
	for _, d := range append(choice.Layers, choice.Config) { // they are folders and a record now
		if err := s.blobs.Remove(d.Digest); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// keepPulled adds the image and its names.
func (s *Store) keepPulled(ctx context.Context, i *Image, named reference.Named, top digest.Digest, p *pull) (*Image, error) {
	s.change.Lock()
	defer s.change.Unlock()
	names := []string{named.Name() + "@" + top.String()}
	if _, ok := named.(reference.Digested); !ok {
		names = append(names, named.String())
	}
	before, err := s.keep(ctx, i, names)
	if err != nil {
		return nil, err
	}
	fresh := false
	for _, old := range before {
		fresh = fresh || old != i.ID
	}
	p.say(registry.Progress{Status: "Digest: " + top.String()})
	status := "Status: Image is up to date for "
	if fresh {
		status = "Status: Downloaded newer image for "
	}
	p.say(registry.Progress{Status: status + reference.FamiliarString(named)})
	s.publish(events.ActionPull, reference.FamiliarString(named), i, reference.FamiliarName(named))
	return s.snapshot(i.ID), nil
}

// pull is one pull under way.
type pull struct {
	store   *Store
	session *registry.Session

	mu       sync.Mutex // one line at a time
	progress func(registry.Progress)
}

func (p *pull) say(line registry.Progress) {
	if p.progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress(line)
}

// image fetches the configuration.
func (p *pull) image(ctx context.Context, choice *registry.Choice) (*Image, error) {
	if choice.Config.Size > maxConfig {
		return nil, errkind.New(errkind.Invalid, "image configuration of %d bytes", choice.Config.Size)
	}
	if err := p.session.Fetch(ctx, p.store.blobs, choice.Config, nil); err != nil {
		return nil, err
	}
	raw, err := p.store.blobs.Read(choice.Config.Digest, maxConfig)
	if err != nil {
		return nil, err
	}
	i, err := newImage(raw)
	if err != nil {
		return nil, err
	}
	if len(i.Config.RootFS.DiffIDs) != len(choice.Layers) {
		return nil, errkind.New(errkind.Invalid, "the manifest names %d layers and the configuration %d", len(choice.Layers), len(i.Config.RootFS.DiffIDs))
	}
	return i, nil
}

// layers fetches and unpacks what is missing, and fills in the image's layers.
func (p *pull) layers(ctx context.Context, i *Image, from []ocispec.Descriptor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chains := identity.ChainIDs(append([]digest.Digest(nil), i.Config.RootFS.DiffIDs...))
	arrived := make([]chan error, len(from))
	slots := make(chan struct{}, parallelLayers)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for n, d := range from {
		if _, err := p.store.layers.Get(chains[n]); err == nil {
			p.say(registry.Progress{ID: id.Short(d.Digest.String()), Status: "Already exists"})
			continue
		}
		arrived[n] = make(chan error, 1)
		p.say(registry.Progress{ID: id.Short(d.Digest.String()), Status: "Pulling fs layer"})
	}
	running.Go(func() {
		for n, d := range from { // from the bottom, for that is unpacked first
			if arrived[n] == nil {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				arrived[n] <- ctx.Err()
				continue
			}
			running.Go(func() {
				arrived[n] <- p.download(ctx, d)
				<-slots
			})
		}
	})
	for n, d := range from {
		if arrived[n] != nil {
			if err := <-arrived[n]; err != nil {
				return err
			}
		}
		if err := p.unpack(ctx, i, d, i.Config.RootFS.DiffIDs[n]); err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	return nil
}

func (p *pull) download(ctx context.Context, d ocispec.Descriptor) error {
	short := id.Short(d.Digest.String())
	err := p.session.Fetch(ctx, p.store.blobs, d, func(done int64) {
		p.say(registry.Progress{ID: short, Status: "Downloading", Current: done, Total: d.Size})
	})
	if err == nil {
		p.say(registry.Progress{ID: short, Status: "Download complete"})
	}
	return err
}

// unpack puts one layer on top of those that the image has so far.
func (p *pull) unpack(ctx context.Context, i *Image, d ocispec.Descriptor, diff digest.Digest) error {
	chain := identity.ChainID([]digest.Digest{i.Chain, diff})
	if i.Chain == "" {
		chain = diff
	}
	short := id.Short(d.Digest.String())
	l, err := p.store.layers.Get(chain)
	if err != nil {
		f, err := p.blob(ctx, d)
		if err != nil {
			return err
		}
		defer f.Close()
		l, err = p.store.layers.Apply(ctx, i.Chain, &progressReader{File: f, report: p.say,
			line: registry.Progress{ID: short, Status: "Extracting", Total: d.Size}}, diff)
		if err != nil {
			return err
		}
		p.say(registry.Progress{ID: short, Status: "Pull complete"})
	}
	i.Layers, i.Chain = append(i.Layers, l.ChainID), l.ChainID
	return nil
}

// blob opens a downloaded blob. Another pull of the same one may be done with it and have removed it; then it is fetched
// again.
func (p *pull) blob(ctx context.Context, d ocispec.Descriptor) (*os.File, error) {
	f, err := p.store.blobs.Open(d.Digest)
	if errkind.Is(err, errkind.NotFound) {
		if err := p.download(ctx, d); err != nil {
			return nil, err
		}
		f, err = p.store.blobs.Open(d.Digest)
	}
	return f, err
}
