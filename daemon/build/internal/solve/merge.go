package solve

import (
	"context"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"pier/daemon/build/internal/graph"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// merge stacks the layers of all inputs, in their order.
func (r *run) merge(ctx context.Context, v *graph.Vertex, op *pb.MergeOp, inputs []Result) ([]Result, error) {
	var chain digest.Digest
	var created Result
	for i, in := range op.Inputs {
		next, err := r.realize(ctx, inputs[in.Input])
		if err != nil {
			return nil, err
		}
		if inputs[in.Input].Created.After(created.Created) {
			created = inputs[in.Input]
		}
		if i == 0 {
			chain = next
			continue
		}
		layers, err := r.layersOf(next)
		if err != nil {
			return nil, err
		}
		if chain, err = r.stack(ctx, chain, layers); err != nil {
			return nil, err
		}
	}
	res := []Result{{Chain: chain, Created: created.Created}}
	r.job.Notify(Update{Kind: Done, Vertex: v, ID: shortID(res)})
	return res, nil
}

// diff is what the upper input has on top of the lower one, which must be where it started from.
func (r *run) diff(ctx context.Context, v *graph.Vertex, op *pb.DiffOp, inputs []Result) ([]Result, error) {
	chainOf := func(i int64) (digest.Digest, error) {
		if i < 0 {
			return "", nil
		}
		return r.realize(ctx, inputs[i])
	}
	lower, err := chainOf(op.Lower.Input)
	if err != nil {
		return nil, err
	}
	upper, err := chainOf(op.Upper.Input)
	if err != nil {
		return nil, err
	}
	layers, err := r.layersOf(upper)
	if err != nil {
		return nil, err
	}
	if lower != "" {
		i := slices.IndexFunc(layers, func(l layer.Layer) bool { return l.ChainID == lower })
		if i < 0 {
			return nil, errkind.New(errkind.Unsupported, "the build definition compares two unrelated file systems, which is not supported")
		}
		layers = layers[i+1:]
	}
	chain, err := r.stack(ctx, "", layers)
	if err != nil {
		return nil, err
	}
	res := []Result{{Chain: chain}}
	r.job.Notify(Update{Kind: Done, Vertex: v, ID: shortID(res)})
	return res, nil
}

// layersOf lists the layers of a chain, lowest first.
func (r *run) layersOf(chain digest.Digest) ([]layer.Layer, error) {
	var layers []layer.Layer
	for chain != "" {
		l, err := r.s.Layers.Get(chain)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
		chain = l.Parent
	}
	slices.Reverse(layers)
	return layers, nil
}

// stack puts layers that were made elsewhere on top of chain. Each is unpacked there once and found again later, also by
// other builds.
func (r *run) stack(ctx context.Context, chain digest.Digest, layers []layer.Layer) (digest.Digest, error) {
	for _, l := range layers {
		there := l.DiffID
		if chain != "" {
			there = identity.ChainID([]digest.Digest{chain, l.DiffID})
		}
		if r.hold(there) == nil {
			chain = there
			continue
		}
		tar, err := r.s.Layers.Tar(ctx, l.ChainID)
		if err != nil {
			return "", err
		}
		moved, err := r.s.Layers.Apply(ctx, chain, tar, l.DiffID)
		if err2 := tar.Close(); err == nil {
			err = err2
		}
		if err != nil {
			return "", err
		}
		chain = moved.ChainID
		if err := r.hold(chain); err != nil {
			return "", err
		}
	}
	return chain, nil
}
