package solve

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
	"pier/lib/errkind"
)

const (
	maxDownload     = 16 << 30 // bytes of one ADD
	downloadTimeout = 30 * time.Minute
)

// download fetches the one file of an http source. Its name in the result is one path component, whatever the URL says.
func (r *run) download(ctx context.Context, v *graph.Vertex, op *pb.SourceOp) (*tree.Memory, error) {
	u, err := url.Parse(op.Identifier)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "ADD: %q is not a URL", op.Identifier)
	}
	for attr := range op.Attrs {
		switch attr {
		case pb.AttrHTTPChecksum, pb.AttrHTTPFilename, pb.AttrHTTPPerm, pb.AttrHTTPUID, pb.AttrHTTPGID:
		default:
			return nil, errkind.New(errkind.Unsupported, "ADD %s: option %s is not supported", u.Redacted(), attr)
		}
	}
	r.job.Notify(Update{Kind: Started, Vertex: v})
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, op.Identifier, nil)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "ADD %s: %w", u.Redacted(), err)
	}
	resp, err := r.s.HTTP.Do(req)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "ADD %s: %w", u.Redacted(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errkind.New(errkind.Invalid, "ADD failed: GET %s: the server answered %s", u.Redacted(), resp.Status)
	}
	spool := tree.NewSpool(r.s.Dir)
	r.closeAtEnd(spool.Close)
	t := tree.NewMemory(spool)
	e, err := downloaded(op, u, resp)
	if err != nil {
		return nil, err
	}
	sum, err := t.AddFrom(e, io.LimitReader(resp.Body, maxDownload+1))
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "ADD %s: %w", u.Redacted(), err)
	}
	if want := op.Attrs[pb.AttrHTTPChecksum]; want != "" {
		if _, err := digest.Parse(want); err != nil {
			return nil, errkind.New(errkind.Invalid, "ADD --checksum=%s: %w", want, err)
		}
		if got := digest.NewDigestFromBytes(digest.SHA256, sum[:]).String(); got != want {
			return nil, errkind.New(errkind.Invalid, "ADD %s: its checksum is %s, not %s", u.Redacted(), got, want)
		}
	}
	t.Seal()
	r.job.Notify(Update{Kind: Done, Vertex: v})
	return t, nil
}

// downloaded describes the file to be made.
func downloaded(op *pb.SourceOp, u *url.URL, resp *http.Response) (tree.Entry, error) {
	name := op.Attrs[pb.AttrHTTPFilename]
	if name == "" {
		name = path.Base(path.Join("/", u.Path))
	}
	if name == "" || name == "/" || name == "." || name == ".." || path.Base(name) != name {
		return tree.Entry{}, errkind.New(errkind.Invalid, "ADD %s: cannot determine a file name", u.Redacted())
	}
	e := tree.Entry{Name: "/" + name, Mode: 0o600, Size: resp.ContentLength, ModTime: time.Unix(0, 0)}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		e.ModTime = t
	}
	for attr, set := range map[string]func(uint64){
		pb.AttrHTTPPerm: func(n uint64) { e.Mode = fileMode(uint32(n)) & os.ModePerm },
		pb.AttrHTTPUID:  func(n uint64) { e.UID = int(n) },
		pb.AttrHTTPGID:  func(n uint64) { e.GID = int(n) },
	} {
		if raw := op.Attrs[attr]; raw != "" {
			n, err := strconv.ParseUint(raw, 0, 31)
			if err != nil {
				return e, errkind.New(errkind.Invalid, "malformed build definition: %s=%q", attr, raw)
			}
			set(n)
		}
	}
	return e, nil
}
