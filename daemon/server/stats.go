package server

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/lib/errkind"
)

// containerStats serves GET /containers/{id}/stats: a JSON object every second until the client or the container goes;
// one that knows its predecessor without stream; one at once with one-shot too.
func (s *Server) containerStats(w http.ResponseWriter, r *request) error {
	stream, oneShot := r.flagOr("stream", true), r.flag("one-shot")
	if stream && oneShot {
		return errkind.New(errkind.Invalid, "cannot have stream=true and one-shot=true")
	}
	stats, err := s.o.Engine.Resources().Stats(r.PathValue("id"))
	if err != nil {
		return err
	}
	defer stats.Close()
	ctx, stop := s.following(r)
	defer stop()
	if !stream {
		sample, err := oneSample(ctx, stats, oneShot)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, sample)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := newFlushWriter(w)
	var samples docker.StatsWriter
	var line []byte
	for {
		sample, err := stats.Next(ctx)
		if err != nil {
			s.cutOff(ctx)
			return nil
		}
		line = append(samples.Append(line[:0], &sample), '\n')
		if _, err := out.Write(line); err != nil {
			return nil
		}
	}
}

func oneSample(ctx context.Context, stats *engine.Stats, oneShot bool) (container.StatsResponse, error) {
	if !oneShot {
		return stats.Pair(ctx)
	}
	sample, err := stats.Next(ctx)
	sample.PreRead, sample.PreCPUStats = container.StatsResponse{}.PreRead, container.CPUStats{}
	return sample, err
}

// containerUpdate serves POST /containers/{id}/update.
func (s *Server) containerUpdate(w http.ResponseWriter, r *request) error {
	var body legacyUpdate
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	if err := body.check(); err != nil {
		return err
	}
	warnings, err := s.o.Engine.Resources().Update(r.Context(), r.PathValue("id"),
		docker.Update{UpdateConfig: body.UpdateConfig, PierPublishAdd: body.PierPublishAdd, PierPublishRemove: body.PierPublishRemove})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, container.UpdateResponse{Warnings: list(append(warnings, r.ignoredWarnings()...))})
}
