package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"sync"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/image"
	"pier/daemon/registry"
	"pier/lib/errkind"
)

// resolver answers the frontend's questions about base images: from the store, or by a pull where the image is missing or
// the request asks for it. Each image is pinned by its ID and held until the build ends.
type resolver struct {
	job *job

	mu     sync.Mutex
	images map[string]*image.Image // by the reference that the definition uses
	asked  map[string]*answer
	failed error
}

// answer is one question under way or answered.
type answer struct {
	done chan struct{}
	img  *image.Image
	err  error
}

func newResolver(j *job) *resolver {
	return &resolver{job: j, images: map[string]*image.Image{}, asked: map[string]*answer{}}
}

// failure is the first error, in its own words rather than the frontend's.
func (r *resolver) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// ResolveImageConfig implements llb.ImageMetaResolver. The digest it answers with is the image's ID.
func (r *resolver) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	var p *ocispec.Platform
	if opt.ImageOpt != nil {
		p = opt.ImageOpt.Platform
	}
	img, err := r.resolve(ctx, ref, p)
	if err == nil {
		err = r.pin(ref, img)
	}
	if err != nil {
		r.mu.Lock()
		if r.failed == nil {
			r.failed = err
		}
		r.mu.Unlock()
		return "", "", nil, err
	}
	return ref, img.ID, img.RawConfig, nil
}

// pin remembers the image under the name that the definition will have for it.
func (r *resolver) pin(ref string, img *image.Image) error {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return errkind.New(errkind.Invalid, "invalid reference %q: %w", ref, err)
	}
	pinned, err := reference.WithDigest(named, img.ID)
	if err != nil {
		return errkind.New(errkind.Invalid, "invalid reference %q: %w", ref, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[pinned.String()] = img
	return nil
}

// resolve answers each question once per build.
func (r *resolver) resolve(ctx context.Context, ref string, p *ocispec.Platform) (*image.Image, error) {
	key := ref
	if p != nil {
		key += " " + platforms.FormatAll(*p)
	}
	r.mu.Lock()
	a, ok := r.asked[key]
	if !ok {
		a = &answer{done: make(chan struct{})}
		r.asked[key] = a
	}
	r.mu.Unlock()
	if ok {
		select {
		case <-a.done:
			return a.img, a.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer close(a.done)
	a.img, a.err = r.find(ctx, ref, p)
	return a.img, a.err
}

func (r *resolver) find(ctx context.Context, ref string, p *ocispec.Platform) (*image.Image, error) {
	j := r.job
	if !j.req.Pull {
		img, err := j.b.opt.Images.Get(ref)
		switch {
		case err == nil && (j.platform == nil || p == nil || img.Config.Architecture == p.Architecture):
			return img, j.b.opt.Images.Hold(j.holder, img.ID)
		case err != nil && !errkind.Is(err, errkind.NotFound):
			return nil, err
		}
	}
	o := image.PullOptions{Auth: r.auth(ref)}
	if j.platform != nil {
		o.Platform = p
	}
	img, err := j.b.opt.Images.Pull(ctx, ref, o, func(p registry.Progress) { j.report.pull(ref, p) })
	if err != nil {
		return nil, err
	}
	return img, j.b.opt.Images.Hold(j.holder, img.ID)
}

// auth encodes the request's credentials for ref's registry as X-Registry-Auth has them.
func (r *resolver) auth(ref string) string {
	if r.job.req.Auth == nil {
		return ""
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	host := reference.Domain(named)
	user, password, token := r.job.req.Auth(host)
	if user == "" && password == "" && token == "" {
		return ""
	}
	raw, err := json.Marshal(map[string]string{"username": user, "password": password, "identitytoken": token, "serveraddress": host})
	if err != nil {
		return ""
	}
	return base64.URLEncoding.EncodeToString(raw)
}
