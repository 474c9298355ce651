package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"

	"pier/client/internal/http1"
)

// Images are the operations on images.
type Images struct{ c *Client }

// Images returns the operations on images.
func (c *Client) Images() Images { return Images{c} }

// List returns images, newest first (GET /images/json).
func (s Images) List(ctx context.Context, all bool, filters Filters) ([]image.Summary, error) {
	return ask[[]image.Summary](ctx, s.c, request{method: "GET", path: "/images/json", query: values("all", flag(all), "filters", filters.encode())})
}

// Raw returns everything known about an image, undecoded (GET /images/{name}/json).
func (s Images) Raw(ctx context.Context, ref string) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, s.c, request{method: "GET", path: "/images/" + ref + "/json"})
}

// History returns the steps an image was made by, latest first.
func (s Images) History(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return ask[[]image.HistoryResponseItem](ctx, s.c, request{method: "GET", path: "/images/" + ref + "/history"})
}

// Tag gives the image ref one more name.
func (s Images) Tag(ctx context.Context, ref, repo, tag string) error {
	return s.c.call(ctx, request{method: "POST", path: "/images/" + ref + "/tag", query: values("repo", repo, "tag", tag)}, nil)
}

// Remove removes a name, and the image with its last name. noPrune keeps untagged parents.
func (s Images) Remove(ctx context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error) {
	return ask[[]image.DeleteResponse](ctx, s.c, request{method: "DELETE", path: "/images/" + ref, query: values("force", flag(force), "noprune", flag(noPrune))})
}

// Load sends an archive and returns the progress stream, which the caller closes (POST /images/load).
func (s Images) Load(ctx context.Context, archive io.Reader, quiet bool) (io.ReadCloser, error) {
	header := http1.Header{{Name: "Content-Type", Value: "application/x-tar"}}
	body, _, err := s.c.stream(ctx, request{method: "POST", path: "/images/load", query: values("quiet", flag(quiet)), header: header, body: archive})
	return body, err
}

// Save returns an archive of the images, which the caller closes (GET /images/get).
func (s Images) Save(ctx context.Context, refs []string) (io.ReadCloser, error) {
	body, _, err := s.c.stream(ctx, request{method: "GET", path: "/images/get", query: url.Values{"names": refs}})
	return body, err
}

// ImportOptions describes the image that Import makes.
type ImportOptions struct {
	Source    string // "-" for the body, or a URL the daemon fetches
	Reference string // name of the new image; may be empty
	Message   string
	Platform  string
	Changes   []string // Dockerfile instructions
}

// Import makes an image of one layer from a tar of a root file system; the caller closes the progress stream.
func (s Images) Import(ctx context.Context, root io.Reader, o ImportOptions) (io.ReadCloser, error) {
	q := values("fromSrc", o.Source, "repo", o.Reference, "message", o.Message, "platform", o.Platform)
	q["changes"] = o.Changes
	body, _, err := s.c.stream(ctx, request{method: "POST", path: "/images/create", query: q, body: root})
	return body, err
}

// Pull fetches an image from its registry; the caller closes the progress stream. auth may be nil.
func (s Images) Pull(ctx context.Context, name, tag, platform string, auth *registry.AuthConfig) (io.ReadCloser, error) {
	var header http1.Header
	if auth != nil {
		data, err := json.Marshal(auth)
		if err != nil {
			return nil, err
		}
		header = http1.Header{{Name: "X-Registry-Auth", Value: base64.URLEncoding.EncodeToString(data)}}
	}
	q := values("fromImage", name, "tag", tag, "platform", platform)
	body, _, err := s.c.stream(ctx, request{method: "POST", path: "/images/create", query: q, header: header})
	return body, err
}

// Build sends a build context (a tar) and returns the progress stream, which the caller closes (POST /build).
// query holds the API's own parameters; auths the credentials by registry.
func (s Images) Build(ctx context.Context, buildContext io.Reader, query url.Values, auths map[string]registry.AuthConfig) (io.ReadCloser, error) {
	header := http1.Header{{Name: "Content-Type", Value: "application/x-tar"}}
	if len(auths) > 0 {
		data, err := json.Marshal(auths)
		if err != nil {
			return nil, err
		}
		header = append(header, http1.Field{Name: "X-Registry-Config", Value: base64.URLEncoding.EncodeToString(data)})
	}
	body, _, err := s.c.stream(ctx, request{method: "POST", path: "/build", query: query, header: header, body: buildContext})
	return body, err
}

// Prune removes images that have no name, or with the filter dangling=false all that no container uses.
func (s Images) Prune(ctx context.Context, filters Filters) (image.PruneReport, error) {
	return ask[image.PruneReport](ctx, s.c, request{method: "POST", path: "/images/prune", query: values("filters", filters.encode())})
}

// PruneBuilds removes what builds have cached and nothing uses: all of it, or what no newer build shares; keep bytes of it
// stay (POST /build/prune).
func (s Images) PruneBuilds(ctx context.Context, filters Filters, all bool, keep int64) (build.CachePruneReport, error) {
	q := values("filters", filters.encode(), "all", flag(all))
	if keep > 0 { // the name before API 1.48, and the one since
		q.Set("keep-storage", strconv.FormatInt(keep, 10))
		q.Set("reserved-space", strconv.FormatInt(keep, 10))
	}
	return ask[build.CachePruneReport](ctx, s.c, request{method: "POST", path: "/build/prune", query: q})
}
