package server

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/daemon/engine"
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
	config := imageConfig(c.Config)
	if body != nil {
		config = merged(imageConfig(body), config)
	}
	if err := applyChanges(&config, r.query["changes"]); err != nil {
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

// imageConfig is what an image keeps of a container's configuration. It shares what c leads to.
func imageConfig(c *container.Config) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd, out.WorkingDir = c.User, append([]string(nil), c.Env...), c.Entrypoint, c.Cmd, c.WorkingDir
	out.StopSignal, out.OnBuild, out.Shell, out.Healthcheck = c.StopSignal, append([]string(nil), c.OnBuild...), c.Shell, c.Healthcheck
	for p := range c.ExposedPorts {
		out.ExposedPorts = with(out.ExposedPorts, p.String())
	}
	for v := range c.Volumes {
		out.Volumes = with(out.Volumes, v)
	}
	for k, v := range c.Labels {
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[k] = v
	}
	return out
}

// merged fills in what the request's configuration leaves open from the container's.
func merged(c, from dockerspec.DockerOCIImageConfig) dockerspec.DockerOCIImageConfig {
	pick := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	pick(&c.User, from.User)
	pick(&c.WorkingDir, from.WorkingDir)
	pick(&c.StopSignal, from.StopSignal)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = from.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = from.Entrypoint
		}
	}
	env := from.Env
	for _, e := range c.Env {
		key, value, _ := strings.Cut(e, "=")
		env = setEnv(env, key, value)
	}
	c.Env = env
	for p := range from.ExposedPorts {
		c.ExposedPorts = with(c.ExposedPorts, p)
	}
	for v := range from.Volumes {
		c.Volumes = with(c.Volumes, v)
	}
	for k, v := range from.Labels {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if _, own := c.Labels[k]; !own {
			c.Labels[k] = v
		}
	}
	if len(c.OnBuild) == 0 {
		c.OnBuild = from.OnBuild
	}
	if len(c.Shell) == 0 {
		c.Shell = from.Shell
	}
	if c.Healthcheck == nil {
		c.Healthcheck = from.Healthcheck
	}
	return c
}
