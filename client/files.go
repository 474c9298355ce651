package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"pier/client/internal/http1"
)

// Files are the operations on the files of containers.
type Files struct{ c *Client }

// Files returns the operations on the files of containers.
func (c *Client) Files() Files { return Files{c} }

// Stat describes a path in a container (HEAD /containers/{id}/archive).
func (s Files) Stat(ctx context.Context, ref, path string) (container.PathStat, error) {
	body, header, err := s.c.stream(ctx, request{method: "HEAD", path: at(ref, "archive"), query: values("path", path)})
	if err != nil {
		return container.PathStat{}, err
	}
	_ = body.Close()
	return readStat(header)
}

func readStat(h http1.Header) (stat container.PathStat, err error) {
	data, err := base64.StdEncoding.DecodeString(h.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(data, &stat)
	}
	if err != nil {
		err = fmt.Errorf("unable to decode container path stat header: %w", err)
	}
	return stat, err
}

// Read returns a tar of what is at a path, which the caller closes (GET /containers/{id}/archive).
func (s Files) Read(ctx context.Context, ref, path string) (container.PathStat, io.ReadCloser, error) {
	body, header, err := s.c.stream(ctx, request{method: "GET", path: at(ref, "archive"), query: values("path", path)})
	if err != nil {
		return container.PathStat{}, nil, err
	}
	stat, err := readStat(header)
	if err != nil {
		_ = body.Close()
	}
	return stat, body, err
}

// Write unpacks a tar in a folder of a container (PUT /containers/{id}/archive); a folder is not replaced by something
// else, nor something else by a folder. asUser gives everything to the container's user.
func (s Files) Write(ctx context.Context, ref, path string, archive io.Reader, asUser bool) error {
	q := values("path", path, "noOverwriteDirNonDir", "true", "copyUIDGID", flag(asUser))
	header := http1.Header{{Name: "Content-Type", Value: "application/x-tar"}}
	return s.c.call(ctx, request{method: "PUT", path: at(ref, "archive"), query: q, header: header, body: archive}, nil)
}

// Export returns a tar of a container's own file system, which the caller closes (GET /containers/{id}/export).
func (s Files) Export(ctx context.Context, ref string) (io.ReadCloser, error) {
	body, _, err := s.c.stream(ctx, request{method: "GET", path: at(ref, "export")})
	return body, err
}

// Changes lists what a container changed of its image (GET /containers/{id}/changes).
func (s Files) Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	var out []container.FilesystemChange
	err := s.c.call(ctx, request{method: "GET", path: at(ref, "changes")}, &out)
	return out, err
}

// CommitOptions describe the image that Commit makes.
type CommitOptions struct {
	Reference       string // repository and tag, "" for none
	Author, Comment string
	Changes         []string // Dockerfile instructions
	Pause           bool     // freeze the container meanwhile
}

// Commit makes an image of a container's own file system and returns its identifier (POST /commit).
func (s Files) Commit(ctx context.Context, ref string, o CommitOptions) (string, error) {
	q := values("container", ref, "repo", o.Reference, "author", o.Author, "comment", o.Comment)
	q["changes"] = o.Changes
	if !o.Pause {
		q.Set("pause", "0")
	}
	var out container.CommitResponse
	err := s.c.call(ctx, request{method: "POST", path: "/commit", query: url.Values(q)}, &out)
	return out.ID, err
}
