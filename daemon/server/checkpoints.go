package server

import (
	"net/http"

	"github.com/moby/moby/api/types/checkpoint"

	"pier/daemon/engine"
)

// The operations on checkpoints stand in no published description: Docker has them for experiments only, and says so in the
// header Docker-Experimental, which is what makes its client offer them.

// checkpointCreate serves POST /containers/{id}/checkpoints.
func (s *Server) checkpointCreate(w http.ResponseWriter, r *request) error {
	var body checkpoint.CreateRequest
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	err := s.o.Engine.Checkpoints().Create(r.Context(), r.PathValue("id"),
		engine.CheckpointOptions{Name: body.CheckpointID, Dir: body.CheckpointDir, Exit: body.Exit})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// checkpointList serves GET /containers/{id}/checkpoints.
func (s *Server) checkpointList(w http.ResponseWriter, r *request) error {
	names, err := s.o.Engine.Checkpoints().List(r.Context(), r.PathValue("id"), r.arg("dir"))
	if err != nil {
		return err
	}
	answer := make([]checkpoint.Summary, len(names))
	for i, name := range names {
		answer[i].Name = name
	}
	return writeJSON(w, http.StatusOK, answer)
}

// checkpointRemove serves DELETE /containers/{id}/checkpoints/{checkpoint}.
func (s *Server) checkpointRemove(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Engine.Checkpoints().Remove(r.Context(), r.PathValue("id"), r.arg("dir"), r.PathValue("checkpoint")))
}
