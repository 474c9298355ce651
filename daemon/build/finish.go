package build

import (
	"encoding/json"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/build/internal/solve"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// imageConfig completes the configuration that the Dockerfile describes by the layers that were made: their digests, and in
// the history the times at which the steps ended. A build taken wholly from the cache gives the same bytes again.
func (j *job) imageConfig(c conversion, sol *solve.Solution) (config []byte, chains []digest.Digest, err error) {
	img := *c.result.Image
	layers, err := j.layersOf(sol.Result.Chain)
	if err != nil {
		return nil, nil, err
	}
	img.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.DiffID)
		chains = append(chains, l.ChainID)
	}
	history, err := j.history(img.History, c.result.BaseImage, layers, sol)
	if err != nil {
		return nil, nil, err
	}
	img.History = history
	if n := len(history); n > 0 {
		img.Created = history[n-1].Created
	}
	if c.result.Epoch != nil {
		img.Created = c.result.Epoch
	}
	if img.Created == nil {
		now := j.b.opt.Clock.Now().UTC()
		img.Created = &now
	}
	config, err = json.Marshal(img)
	return config, chains, err
}

// layersOf lists the layers of a chain, lowest first.
func (j *job) layersOf(chain digest.Digest) ([]layer.Layer, error) {
	var layers []layer.Layer
	for chain != "" {
		l, err := j.b.opt.Layers.Get(chain)
		if err != nil {
			return nil, err
		}
		layers = append([]layer.Layer{l}, layers...)
		chain = l.Parent
	}
	return layers, nil
}

// history dates the entries: one with a layer by the end of its step, one without by the entry before it. Base images that
// tell less than they have layers get entries in front.
func (j *job) history(entries []ocispec.History, base *dockerspec.DockerOCIImage, layers []layer.Layer, sol *solve.Solution) ([]ocispec.History, error) {
	withLayer := 0
	for _, h := range entries {
		if !h.EmptyLayer {
			withLayer++
		}
	}
	if withLayer > len(layers) {
		return nil, errkind.New(errkind.Internal, "the build made %d layers for %d steps", len(layers), withLayer)
	}
	var baseTime *time.Time
	if base != nil {
		baseTime = base.Created
	}
	var out []ocispec.History
	for range len(layers) - withLayer {
		out = append(out, ocispec.History{Created: baseTime})
	}
	out = append(out, entries...)
	ended := map[digest.Digest]time.Time{}
	for _, results := range sol.Steps {
		for _, res := range results {
			if !res.Created.IsZero() && (ended[res.Chain].IsZero() || res.Created.Before(ended[res.Chain])) {
				ended[res.Chain] = res.Created
			}
		}
	}
	last, n := baseTime, 0
	for i := range out {
		h := &out[i]
		if !h.EmptyLayer {
			if t, ok := ended[layers[n].ChainID]; ok && h.Created == nil {
				h.Created = &t
			}
			n++
		}
		if h.Created == nil {
			h.Created = last
		}
		last = h.Created
	}
	return out, nil
}
