package server

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/daemon/server/internal/imageconfig"
	"pier/lib/errkind"
)

// pathStatHeader tells what is at the path, as base64 of JSON.
const pathStatHeader = "X-Docker-Container-Path-Stat"

// archivePath is the argument "path" of the archive operations.
func (r *request) archivePath() (string, error) {
	if p := r.arg("path"); p != "" {
		return p, nil
	}
	return "", errkind.New(errkind.Invalid, "bad parameter: 'path' cannot be empty")
}

func tellStat(w http.ResponseWriter, s container.PathStat) error {
	data, err := json.Marshal(s)
	if err != nil {
		return errkind.New(errkind.Internal, "encode the answer: %w", err)
	}
	w.Header().Set(pathStatHeader, base64.StdEncoding.EncodeToString(data))
	return nil
}

// containerArchiveStat serves HEAD /containers/{id}/archive.
func (s *Server) containerArchiveStat(w http.ResponseWriter, r *request) error {
	name, err := r.archivePath()
	if err != nil {
		return err
	}
	stat, err := s.o.Engine.Files().Stat(r.Context(), r.PathValue("id"), name)
	if err != nil {
		return err
	}
	return tellStat(w, stat)
}

// containerArchiveGet serves GET /containers/{id}/archive.
func (s *Server) containerArchiveGet(w http.ResponseWriter, r *request) error {
	if r.Method == http.MethodHead {
		return s.containerArchiveStat(w, r)
	}
	name, err := r.archivePath()
	if err != nil {
		return err
	}
	stat, archive, err := s.readArchive(w, r, name)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := tellStat(w, stat); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return transfer(w, archive)
}

// readArchive opens what name stands for, which docker.GlobParameter lets be a pattern.
func (s *Server) readArchive(w http.ResponseWriter, r *request, name string) (container.PathStat, io.ReadCloser, error) {
	files, id := s.o.Engine.Files(), r.PathValue("id")
	if !r.flag(docker.GlobParameter) {
		return files.Read(r.Context(), id, name)
	}
	stats, archive, err := files.Match(r.Context(), id, name, r.flag(docker.FollowParameter))
	if err != nil {
		return container.PathStat{}, nil, err
	}
	w.Header().Set(docker.MatchesHeader, strconv.Itoa(len(stats)))
	return stats[0], archive, nil
}

// transfer answers with what body yields. An error before its first byte is a proper answer.
func transfer(w http.ResponseWriter, body io.Reader) error {
	buf := make([]byte, 128<<10)
	n, err := body.Read(buf)
	if err != nil && err != io.EOF {
		w.Header().Del("Content-Type")
		return err
	}
	w.WriteHeader(http.StatusOK)
	if _, gone := w.Write(buf[:n]); gone != nil || err != nil {
		return nil
	}
	out := &lastError{w: w}
	_, err = io.CopyBuffer(out, struct{ io.Reader }{body}, buf)
	if out.err != nil {
		return nil // the client has gone
	}
	return err
}

// lastError tells an error of the client's connection from one of what is sent.
type lastError struct {
	w   io.Writer
	err error
}

func (l *lastError) Write(p []byte) (n int, err error) {
	n, l.err = l.w.Write(p)
	return n, l.err
}

// containerArchivePut serves PUT /containers/{id}/archive.
func (s *Server) containerArchivePut(_ http.ResponseWriter, r *request) error {
	name, err := r.archivePath()
	if err != nil {
		return err
	}
	o := engine.WriteOptions{KeepKinds: r.flag("noOverwriteDirNonDir"), AsUser: r.flag("copyUIDGID"),
		Owner: r.arg(docker.OwnerParameter), Mode: r.arg(docker.ModeParameter)}
	if o.AsUser && o.Owner != "" {
		return errkind.New(errkind.Invalid, "conflicting arguments: copyUIDGID and %s both say who is to own the files", docker.OwnerParameter)
	}
	return s.o.Engine.Files().Write(r.Context(), r.PathValue("id"), name, r.Body, o)
}

// containerExport serves GET /containers/{id}/export.
func (s *Server) containerExport(w http.ResponseWriter, r *request) error {
	if _, err := s.o.Engine.Containers().Inspect(r.Context(), r.PathValue("id"), false); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	err := s.o.Engine.Files().Export(r.Context(), r.PathValue("id"), w)
	if r.Context().Err() != nil {
		return nil // nobody reads the rest
	}
	return err
}

// containerChanges serves GET /containers/{id}/changes.
func (s *Server) containerChanges(w http.ResponseWriter, r *request) error {
	changes, err := s.o.Engine.Files().Changes(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	out := make([]container.FilesystemChange, len(changes))
	for i, c := range changes {
		out[i] = container.FilesystemChange{Kind: container.ChangeType(c.Kind), Path: c.Path}
	}
	return writeJSON(w, http.StatusOK, out)
}

// commit serves POST /commit.
func (s *Server) commit(w http.ResponseWriter, r *request) error {
	var body *container.Config
	if err := r.decode(w, &body, true); err != nil {
		return err
	}
	ref := r.arg("container")
	if ref == "" {
		return errkind.New(errkind.Invalid, "no container given")
	}
	c, err := s.o.Engine.Containers().Inspect(r.Context(), ref, false)
	if err != nil {
		return err
	}
	config := imageconfig.Of(c.Config)
	if body != nil {
		config = imageconfig.Merged(imageconfig.Of(body), config)
	}
	if err := imageconfig.Apply(&config, r.query["changes"]); err != nil {
		return err
	}
	o := engine.CommitOptions{Author: r.arg("author"), Comment: r.arg("comment"), Pause: r.flagOr("pause", true), Config: config}
	if repo := r.arg("repo"); repo != "" {
		o.Ref = joinTag(repo, r.arg("tag"))
		if name, err := reference.ParseNormalizedNamed(o.Ref); err == nil { // what is no name is refused below, in its own words
			o.Ref = reference.FamiliarString(reference.TagNameOnly(name))
		}
	}
	id, err := s.o.Engine.Files().Commit(r.Context(), c.ID, o)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.CommitResponse{ID: id.String()})
}
