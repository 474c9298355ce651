package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
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
	stat, _, body, err := s.archive(ctx, ref, values("path", path))
	return stat, body, err
}

// Match is Read of all that a pattern stands for (see docker.GlobParameter): how many files, each under its own name, and what
// the first is. follow: one that is a symbolic link stands for what it leads to. Unsupported where the server does not know patterns.
func (s Files) Match(ctx context.Context, ref, pattern string, follow bool) (matches int, first container.PathStat, body io.ReadCloser, err error) {
	if err := s.c.needs(ctx, docker.AddedArchive, "a pattern for files in a container"); err != nil {
		return 0, first, nil, err
	}
	first, header, body, err := s.archive(ctx, ref, values("path", pattern, docker.GlobParameter, "1", docker.FollowParameter, flag(follow)))
	if err != nil {
		return 0, first, nil, err
	}
	if matches, err = strconv.Atoi(header.Get(docker.MatchesHeader)); err != nil {
		_ = body.Close()
		return 0, first, nil, fmt.Errorf("unable to tell how many files match: %w", err)
	}
	return matches, first, body, nil
}

func (s Files) archive(ctx context.Context, ref string, query url.Values) (container.PathStat, http1.Header, io.ReadCloser, error) {
	body, header, err := s.c.stream(ctx, request{method: "GET", path: at(ref, "archive"), query: query})
	if err != nil {
		return container.PathStat{}, nil, nil, err
	}
	stat, err := readStat(header)
	if err != nil {
		_ = body.Close()
	}
	return stat, header, body, err
}

// WriteOptions tune Write.
type WriteOptions struct {
	AsUser bool // give everything to the container's user, where it has one
	// Owner and Mode, where not empty, are for everything that is written: see docker.OwnerParameter and docker.ModeParameter.
	Owner, Mode string
}

// Write unpacks a tar in a folder of a container (PUT /containers/{id}/archive); a folder is not replaced by something
// else, nor something else by a folder. Unsupported where the options say more than AsUser and the server does not know that.
func (s Files) Write(ctx context.Context, ref, path string, archive io.Reader, o WriteOptions) error {
	if o.Owner != "" || o.Mode != "" {
		if err := s.c.needs(ctx, docker.AddedArchive, "a copy with an owner or a mode of its own"); err != nil {
			return err
		}
	}
	q := values("path", path, "noOverwriteDirNonDir", "true", "copyUIDGID", flag(o.AsUser), docker.OwnerParameter, o.Owner, docker.ModeParameter, o.Mode)
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
	return ask[[]container.FilesystemChange](ctx, s.c, request{method: "GET", path: at(ref, "changes")})
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
	out, err := ask[container.CommitResponse](ctx, s.c, request{method: "POST", path: "/commit", query: url.Values(q)})
	return out.ID, err
}
