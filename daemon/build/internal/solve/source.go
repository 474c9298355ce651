package solve

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
	"pier/daemon/image"
	"pier/lib/errkind"
	"pier/lib/id"
)

// source finds what a source operation names.
func (r *run) source(ctx context.Context, v *graph.Vertex, op *pb.SourceOp) ([]Result, error) {
	scheme, ref, ok := strings.Cut(op.Identifier, "://")
	if !ok {
		return nil, errkind.New(errkind.Invalid, "malformed build definition: source %q", op.Identifier)
	}
	switch scheme {
	case "docker-image":
		img, err := r.image(ref)
		if err != nil {
			return nil, err
		}
		if img.Chain != "" {
			if err := r.hold(img.Chain); err != nil {
				return nil, err
			}
		}
		r.job.Notify(Update{Kind: Started, Vertex: v})
		r.job.Notify(Update{Kind: Done, Vertex: v, ID: id.Short(img.ID.String())})
		return []Result{{Chain: img.Chain, Created: img.Created}}, nil
	case "local":
		t, err := r.local(ctx, ref, op.Attrs)
		if err != nil {
			return nil, err
		}
		r.job.Notify(Update{Kind: Done, Vertex: v})
		return []Result{{Tree: t}}, nil
	case "http", "https":
		t, err := r.download(ctx, v, op)
		return []Result{{Tree: t}}, err
	case "git":
		return nil, errkind.New(errkind.Unsupported, "git sources are not supported; clone the repository and build from the folder")
	}
	return nil, errkind.New(errkind.Unsupported, "sources of kind %q are not supported", scheme)
}

func (r *run) image(ref string) (*image.Image, error) {
	if img := r.job.Images[ref]; img != nil {
		return img, nil
	}
	return nil, errkind.New(errkind.Invalid, "malformed build definition: image %q was not resolved", ref)
}

// local returns the build context, cut down where the definition asks for a part of it.
func (r *run) local(ctx context.Context, name string, attrs map[string]string) (*tree.Memory, error) {
	if name != "context" || r.job.Context == nil {
		return nil, errkind.New(errkind.Invalid, "the request has no source called %q", name)
	}
	var include, exclude []string
	for attr, to := range map[string]*[]string{pb.AttrIncludePatterns: &include, pb.AttrExcludePatterns: &exclude} {
		if raw := attrs[attr]; raw != "" {
			if err := json.Unmarshal([]byte(raw), to); err != nil {
				return nil, errkind.New(errkind.Invalid, "malformed build definition: %s: %w", attr, err)
			}
		}
	}
	filter, err := tree.NewFilter(include, exclude)
	if err != nil || filter == nil {
		return r.job.Context, err
	}
	return r.job.Context.Select(ctx, filter)
}
