package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/lib/errkind"
)

// containerFilters are the filters of GET /containers/json.
var containerFilters = []string{"ancestor", "annotation", "before", "exited", "expose", "health", "id", "is-task", "isolation",
	"label", "label!", "name", "network", "publish", "since", "status", "volume"}

// containerList serves GET /containers/json.
func (s *Server) containerList(w http.ResponseWriter, r *request) error {
	f, err := r.filters(containerFilters...)
	if err != nil {
		return err
	}
	limit, err := r.int("limit", 0)
	if err != nil {
		return err
	}
	containers, err := s.o.Engine.Containers().List(r.Context(), engine.ListOptions{
		All: r.flag("all"), Size: r.flag("size"), Limit: int(max(limit, 0)), Filters: f,
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(containers))
}

// containerCreate serves POST /containers/create.
func (s *Server) containerCreate(w http.ResponseWriter, r *request) error {
	var body legacyCreate
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	if body.Config == nil {
		return errkind.New(errkind.Invalid, "invalid config: config cannot be empty in order to create a container")
	}
	platform, err := r.platform()
	if err != nil {
		return err
	}
	if err := body.upgrade(r.version); err != nil {
		return err
	}
	create := engine.CreateRequest{Name: r.arg("name"), Config: body.Config, HostConfig: body.CreateRequest.HostConfig,
		NetworkingConfig: body.NetworkingConfig, Platform: platform}
	if body.HostConfig != nil {
		create.Secrets = body.HostConfig.PierSecrets
	}
	if r.wantsRun() {
		return s.containerRun(w, r, create)
	}
	created, err := s.o.Engine.Containers().Create(r.Context(), create)
	if err != nil {
		return err
	}
	created.Warnings = list(append(created.Warnings, r.ignoredWarnings()...))
	return writeJSON(w, http.StatusCreated, created)
}

// containerInspect serves GET /containers/{id}/json.
func (s *Server) containerInspect(w http.ResponseWriter, r *request) error {
	c, err := s.o.Engine.Containers().Inspect(r.Context(), r.PathValue("id"), r.flag("size"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, legacyContainer(r.version, c))
}

// containerTop serves GET /containers/{id}/top.
func (s *Server) containerTop(w http.ResponseWriter, r *request) error {
	args := strings.Fields(r.arg("ps_args"))
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	top, err := s.o.Engine.Containers().Top(r.Context(), r.PathValue("id"), args)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, top)
}

// containerStart serves POST /containers/{id}/start.
func (s *Server) containerStart(w http.ResponseWriter, r *request) error {
	name, dir := r.arg("checkpoint"), r.arg("checkpoint-dir")
	switch {
	case name != "":
		return noContent(w, s.o.Engine.Checkpoints().Start(r.Context(), r.PathValue("id"), dir, name))
	case dir != "": // to start afresh instead would lose what the user wants back
		return errkind.New(errkind.Invalid, "checkpoint-dir says where a checkpoint lies, and no checkpoint is named: add checkpoint=NAME")
	}
	return noContent(w, s.o.Engine.Containers().Start(r.Context(), r.PathValue("id")))
}

// stopOptions are the arguments of stop and restart.
func stopOptions(r *request) (engine.StopOptions, error) {
	timeout, err := r.seconds("t")
	return engine.StopOptions{Signal: r.arg("signal"), Timeout: timeout}, err
}

// containerStop serves POST /containers/{id}/stop.
func (s *Server) containerStop(w http.ResponseWriter, r *request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	o.Report = &engine.StopReport{}
	err = s.o.Engine.Containers().Stop(r.Context(), r.PathValue("id"), o)
	if signal := o.Report.Unheard; err == nil && signal != "" {
		w.Header().Set(docker.UnheardHeader, signal)
	}
	return noContent(w, err)
}

// containerRestart serves POST /containers/{id}/restart.
func (s *Server) containerRestart(w http.ResponseWriter, r *request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return noContent(w, s.o.Engine.Containers().Restart(r.Context(), r.PathValue("id"), o))
}

// containerKill serves POST /containers/{id}/kill.
func (s *Server) containerKill(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Containers().Kill(r.Context(), r.PathValue("id"), r.arg("signal")))
}

// containerPause serves POST /containers/{id}/pause.
func (s *Server) containerPause(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Containers().Pause(r.Context(), r.PathValue("id")))
}

// containerUnpause serves POST /containers/{id}/unpause.
func (s *Server) containerUnpause(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Containers().Unpause(r.Context(), r.PathValue("id")))
}

// containerRename serves POST /containers/{id}/rename.
func (s *Server) containerRename(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Containers().Rename(r.Context(), r.PathValue("id"), r.arg("name")))
}

// containerResize serves POST /containers/{id}/resize.
func (s *Server) containerResize(w http.ResponseWriter, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	return s.o.Engine.Streams().Resize(r.Context(), r.PathValue("id"), width, height)
}

// containerRemove serves DELETE /containers/{id}.
func (s *Server) containerRemove(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Containers().Remove(r.Context(), r.PathValue("id"), engine.RemoveOptions{
		Force: r.flag("force"), Volumes: r.flag("v"), Link: r.flag("link"),
	}))
}

// linkRemove serves DELETE /containers/{id} of a legacy link, whose name has a slash in it.
func (s *Server) linkRemove(w http.ResponseWriter, r *request) error {
	if !r.flag("link") {
		return pageNotFound(w, r)
	}
	link := r.PathValue("id") + "/" + r.PathValue("link")
	return noContent(w, s.o.Engine.Containers().Remove(r.Context(), link, engine.RemoveOptions{Link: true}))
}

// containerPrune serves POST /containers/prune.
func (s *Server) containerPrune(w http.ResponseWriter, r *request) error {
	f, err := r.filters("until", "label", "label!")
	if err != nil {
		return err
	}
	report, err := s.o.Engine.Containers().Prune(r.Context(), f)
	if err != nil {
		return err
	}
	s.sayPruned(events.ContainerEventType, report.SpaceReclaimed)
	report.ContainersDeleted = list(report.ContainersDeleted)
	return writeJSON(w, http.StatusOK, report)
}

// containerWait serves POST /containers/{id}/wait. The head of the answer goes out as soon as the wait is registered:
// docker run starts the container only then.
func (s *Server) containerWait(w http.ResponseWriter, r *request) error {
	condition := container.WaitCondition(r.arg("condition"))
	known := []container.WaitCondition{"", container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved}
	if !slices.Contains(known, condition) {
		return errkind.New(errkind.Invalid, "invalid condition: %q", condition)
	}
	ctx, stop := s.following(r)
	defer stop()
	result, err := s.o.Engine.Containers().Wait(ctx, r.PathValue("id"), condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := newFlushWriter(w)
	_, _ = out.Write(nil)
	select {
	case <-ctx.Done():
		panic(http.ErrAbortHandler) // half an answer would be taken for exit code 0
	case end := <-result:
		answer := container.WaitResponse{StatusCode: int64(end.ExitCode)}
		if end.Err != nil {
			answer.Error = &container.WaitExitError{Message: end.Err.Error()}
		}
		_ = json.NewEncoder(out).Encode(answer)
	}
	return nil
}

// containerLogs serves GET /containers/{id}/logs.
func (s *Server) containerLogs(w http.ResponseWriter, r *request) error {
	o := engine.LogsOptions{
		Stdout: r.flag("stdout"), Stderr: r.flag("stderr"), Follow: r.flag("follow"),
		Timestamps: r.flag("timestamps"), Details: r.flag("details"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return errkind.New(errkind.Invalid, "Bad parameters: you must choose at least one stream")
	}
	var err error
	now := time.Now()
	if o.Since, err = r.timestamp("since", now); err != nil {
		return err
	}
	if o.Until, err = r.timestamp("until", now); err != nil {
		return err
	}
	if tail := r.arg("tail"); tail != "" && tail != "all" {
		n, err := r.int("tail", -1)
		if err != nil {
			return err
		}
		o.Tail = int(max(n, -1))
	}
	logs, err := s.o.Engine.Streams().Logs(r.Context(), r.PathValue("id"), o)
	if err != nil {
		return err
	}
	defer logs.Close()
	w.Header().Set("Content-Type", streamType(r, logs.Terminal))
	w.WriteHeader(http.StatusOK)
	out := newFlushWriter(w)
	_, _ = out.Write(nil)
	ctx := r.Context()
	if o.Follow { // the others have an end of their own, and soon
		following, stop := s.following(r)
		defer stop()
		ctx = following
	}
	err = logs.Copy(ctx, out)
	if err != nil && ctx.Err() == nil {
		s.o.Log.Warn("logs ended early", "container", r.PathValue("id"), "error", err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		s.cutOff(ctx)
	}
	return nil
}
