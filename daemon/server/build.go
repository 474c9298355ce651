package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	buildapi "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"

	"pier/api/docker"
	"pier/daemon/build"
	pulls "pier/daemon/registry"
	"pier/lib/errkind"
	"pier/lib/id"
)

// build serves POST /build, the classic builder: the context is the body, the answer a stream of lines.
func (s *Server) build(w http.ResponseWriter, r *request) error {
	req, err := buildRequest(r)
	if err != nil {
		return err
	}
	// The answer begins while the context still arrives.
	r.answerEarly(w)
	p := newProgress(w)
	out := &buildOutput{progress: p, quiet: r.flag("q"), live: r.flag(docker.VertexParameter)}
	req.Progress = out.event
	result, err := s.o.Builder.Build(r.Context(), req)
	if err != nil {
		return buildFailed(p, err)
	}
	if out.quiet {
		p.stream(result.ImageID + "\n")
		return nil
	}
	aux, _ := json.Marshal(buildapi.Result{ID: result.ImageID})
	p.send(docker.ProgressLine{Message: jsonstream.Message{Aux: (*json.RawMessage)(&aux)}})
	if out.live {
		return nil
	}
	p.stream("Successfully built " + id.Short(result.ImageID) + "\n")
	for _, tag := range result.Tags {
		p.stream("Successfully tagged " + tag + "\n")
	}
	return nil
}

// buildFailed ends a failing build: the place in the Dockerfile as text, then the error as clients know it.
func buildFailed(p *progress, err error) error {
	var step *build.StepError
	if !errors.As(err, &step) {
		return p.end(err)
	}
	p.stream(step.Detail())
	e := &jsonstream.Error{Code: step.ExitCode, Message: step.Error()}
	p.send(docker.ProgressLine{Message: jsonstream.Message{Error: e}, ErrorText: step.Error()})
	return nil
}

// buildRequest decodes the arguments of POST /build.
func buildRequest(r *request) (build.Request, error) {
	req := build.Request{
		Context: r.Body, Remote: r.arg("remote"), Dockerfile: r.arg("dockerfile"), Tags: r.query["t"], Target: r.arg("target"),
		NoCache: r.flag("nocache"), Pull: r.flag("pull"), Platform: r.arg("platform"), NetworkMode: r.arg("networkmode"),
		ExtraHosts: r.query["extrahosts"], CpusetCpus: r.arg("cpusetcpus"), CpusetMems: r.arg("cpusetmems"),
		CgroupParent: r.arg("cgroupparent"),
	}
	if r.arg("version") == string(buildapi.BuilderBuildKit) {
		return req, errkind.New(errkind.Unsupported, "pierd does not speak BuildKit's protocol yet: set DOCKER_BUILDKIT=0 and build again; the classic request understands BuildKit's Dockerfile syntax")
	}
	if r.arg("outputs") != "" && r.arg("outputs") != "[]" || r.flag("squash") {
		return req, errkind.New(errkind.Unsupported, "outputs and squash are not supported by this builder")
	}
	for name, field := range map[string]*int64{
		"shmsize": &req.ShmSize, "memory": &req.Memory, "memswap": &req.MemorySwap, "cpushares": &req.CPUShares,
		"cpuperiod": &req.CPUPeriod, "cpuquota": &req.CPUQuota,
	} {
		n, err := r.int(name, 0)
		if err != nil {
			return req, err
		}
		*field = n
	}
	var ulimits []*container.Ulimit
	for name, field := range map[string]any{"buildargs": &req.BuildArgs, "labels": &req.Labels, "ulimits": &ulimits} {
		if s := r.arg(name); s != "" {
			if err := json.Unmarshal([]byte(s), field); err != nil {
				return req, errkind.New(errkind.Invalid, "invalid value for %s: %w", name, err)
			}
		}
	}
	for _, u := range ulimits {
		if u != nil {
			req.Ulimits = append(req.Ulimits, build.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
		}
	}
	auth, err := registryConfig(r.Header.Get("X-Registry-Config"))
	req.Auth = auth
	return req, err
}

// registryConfig decodes the credentials that a client sends along, by registry host.
func registryConfig(header string) (func(host string) (username, password, identityToken string), error) {
	if header == "" {
		return nil, nil
	}
	var configs map[string]registry.AuthConfig
	data, err := base64.URLEncoding.DecodeString(header)
	if err == nil {
		err = json.Unmarshal(data, &configs)
	}
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "invalid X-Registry-Config header: want base64url of a JSON object")
	}
	byHost := map[string]registry.AuthConfig{}
	for key, c := range configs {
		byHost[registryHost(key)] = c
	}
	return func(host string) (string, string, string) {
		c := byHost[registryHost(host)]
		return c.Username, c.Password, c.IdentityToken
	}, nil
}

// registryHost reduces a key of the client's configuration to a host; Docker Hub has several names.
func registryHost(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}

// buildOutput turns the builder's events into the classic builder's text or, for clients that ask for it, into events
// of the graph that a live tree is drawn from.
type buildOutput struct {
	progress    *progress
	quiet, live bool
	running     string // name of the process of the current step
}

func (b *buildOutput) event(e build.Event) {
	if b.live {
		b.trace(e)
	}
	if b.quiet {
		return
	}
	p := b.progress
	switch e.Kind {
	case build.Warning:
		p.stream("[Warning] " + strings.TrimRight(string(e.Data), "\n") + "\n")
	case build.PullProgress:
		p.move(pulls.Progress{ID: e.ID, Status: strings.TrimRight(string(e.Data), "\n"), Current: e.PullCurrent, Total: e.PullTotal})
	}
	if b.live { // all else stands in the events
		return
	}
	switch e.Kind {
	case build.StepStarted:
		b.running = ""
		p.stream(fmt.Sprintf("Step %d/%d : %s\n", e.Step, e.Total, e.Name))
	case build.StepCached:
		p.stream(" ---> Using cache\n")
	case build.StepRunning:
		b.running = e.ID
		p.stream(" ---> Running in " + e.ID + "\n")
	case build.StepLog:
		p.stream(string(e.Data))
	case build.StepDone:
		if b.running != "" {
			p.stream(" ---> Removed intermediate container " + b.running + "\n")
		}
		p.stream(" ---> " + e.ID + "\n")
	}
}

// trace sends an event as auxiliary data under an identifier of its own, which stock clients skip.
func (b *buildOutput) trace(e build.Event) {
	event, ok := map[build.EventKind]string{
		build.VertexStarted: docker.VertexStarted, build.VertexCached: docker.VertexCached, build.VertexDone: docker.VertexDone,
		build.VertexFailed: docker.VertexFailed, build.VertexLog: docker.VertexLog,
	}[e.Kind]
	if !ok {
		return
	}
	data, err := json.Marshal(docker.BuildVertex{
		Event: event, Time: e.Time, Vertex: e.Vertex, Step: e.Step, Total: e.Total, Name: e.Name, Stage: e.Stage,
		Data: string(e.Data), Error: e.Err,
	})
	if err == nil {
		b.progress.send(docker.ProgressLine{Message: jsonstream.Message{ID: docker.VertexMessageID, Aux: (*json.RawMessage)(&data)}})
	}
}

// buildCacheUsage describes the build cache for GET /system/df. What an image has too is shared, and counts there alone;
// the rest can be had back: a build that runs holds its own.
func (s *Server) buildCacheUsage(ctx context.Context) *buildapi.DiskUsage {
	layers := map[digest.Digest]bool{}
	for _, image := range s.o.Images.List(ctx) {
		for _, chain := range image.Layers {
			layers[chain] = true
		}
	}
	u := &buildapi.DiskUsage{}
	for _, e := range s.o.Builder.Usage() {
		shared := !slices.ContainsFunc(e.Chains, func(chain digest.Digest) bool { return chain != "" && !layers[chain] })
		u.Items = append(u.Items, buildapi.CacheRecord{
			ID: e.ID, Type: "regular", Description: e.Name, Size: e.Size, CreatedAt: e.Created, LastUsedAt: &e.Used, Shared: shared,
		})
		if !shared {
			u.TotalSize += e.Size
		}
	}
	u.TotalCount, u.Reclaimable = int64(len(u.Items)), u.TotalSize
	return u
}

// buildPrune serves POST /build/prune.
func (s *Server) buildPrune(w http.ResponseWriter, r *request) error {
	if _, err := r.filters("until", "id", "parent", "type", "description", "inuse", "shared", "private", "unused-for"); err != nil {
		return err
	}
	name := "reserved-space"
	if !r.has(name) {
		name = "keep-storage" // before 1.48
	}
	keep, err := r.int(name, 0)
	if err != nil {
		return err
	}
	report, err := s.o.Builder.Prune(r.Context(), build.PruneRequest{All: r.flag("all"), KeepBytes: keep})
	if err != nil {
		return err
	}
	s.sayPruned(events.BuilderEventType, uint64(max(report.Reclaimed, 0)))
	return writeJSON(w, http.StatusOK, buildapi.CachePruneReport{
		CachesDeleted: list(report.Caches), SpaceReclaimed: uint64(max(report.Reclaimed, 0)),
	})
}
