package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/api/docker"
	"pier/lib/errkind"
)

// predefined are the networks that every host has.
var predefined = []string{api.NetworkBridge, api.NetworkHost, api.NetworkNone}

// networkList serves GET /networks. The containers of a network are told by its own endpoint only.
func (s *Server) networkList(w http.ResponseWriter, r *request) error {
	f, err := r.filters("dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	if err := checkNetworkFilters(f); err != nil {
		return err
	}
	out := []api.Summary{}
	for _, n := range s.o.Networks.List() {
		if networkMatches(f, n) {
			out = append(out, api.Summary{Network: n.Network})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func checkNetworkFilters(f docker.Filters) error {
	if _, err := f.Bool("dangling", false); err != nil {
		return errkind.New(errkind.Invalid, "%w", err)
	}
	for _, t := range f["type"] {
		if t != "custom" && t != "builtin" {
			return errkind.New(errkind.Invalid, "invalid filter: 'type'='%s'", t)
		}
	}
	return nil
}

func networkMatches(f docker.Filters, n api.Inspect) bool {
	builtin := slices.Contains(predefined, n.Name)
	if _, given := f["dangling"]; given {
		dangling, _ := f.Bool("dangling", false) // checked before
		if dangling != (!builtin && len(n.Containers) == 0) {
			return false
		}
	}
	return anyOf(f["driver"], func(v string) bool { return n.Driver == v }) &&
		anyOf(f["scope"], func(v string) bool { return n.Scope == v }) &&
		anyOf(f["id"], func(v string) bool { return strings.HasPrefix(n.ID, v) }) &&
		anyOf(f["name"], func(v string) bool { return strings.Contains(n.Name, v) }) &&
		anyOf(f["type"], func(v string) bool { return (v == "builtin") == builtin }) &&
		labelsMatch(f, n.Labels)
}

// networkInspect serves GET /networks/{id}.
func (s *Server) networkInspect(w http.ResponseWriter, r *request) error {
	n, err := s.o.Networks.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	if scope := r.arg("scope"); scope != "" && scope != n.Scope {
		return errkind.New(errkind.NotFound, "network %s not found", r.PathValue("id"))
	}
	if n.Containers == nil {
		n.Containers = map[string]api.EndpointResource{}
	}
	if r.version.Before(52) {
		n.Status = nil
	}
	return writeJSON(w, http.StatusOK, n)
}

// networkCreate serves POST /networks/create.
func (s *Server) networkCreate(w http.ResponseWriter, r *request) error {
	var body api.CreateRequest
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	created, err := s.o.Networks.Create(r.Context(), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, created)
}

// networkRemove serves DELETE /networks/{id}.
func (s *Server) networkRemove(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Networks.Remove(r.Context(), r.PathValue("id")))
}

// networkConnect serves POST /networks/{id}/connect.
func (s *Server) networkConnect(w http.ResponseWriter, r *request) error {
	var body api.ConnectRequest
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	if err := s.o.Engine.Endpoints().Connect(r.Context(), body.Container, r.PathValue("id"), body.EndpointConfig); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// networkDisconnect serves POST /networks/{id}/disconnect.
func (s *Server) networkDisconnect(w http.ResponseWriter, r *request) error {
	var body api.DisconnectRequest
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	if err := s.o.Engine.Endpoints().Disconnect(r.Context(), body.Container, r.PathValue("id"), body.Force); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// networkPrune serves POST /networks/prune: networks made by users that nobody is on.
func (s *Server) networkPrune(w http.ResponseWriter, r *request) error {
	f, err := r.filters("label", "label!", "until")
	if err != nil {
		return err
	}
	until, err := untilFilter(f)
	if err != nil {
		return err
	}
	report := api.PruneReport{NetworksDeleted: []string{}}
	for _, n := range s.o.Networks.List() {
		young := !until.IsZero() && n.Created.After(until)
		if slices.Contains(predefined, n.Name) || len(n.Containers) > 0 || young || !labelsMatch(f, n.Labels) {
			continue
		}
		if s.o.Networks.Remove(r.Context(), n.ID) == nil { // in use by now: it stays
			report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
		}
	}
	s.sayPruned(events.NetworkEventType, 0)
	return writeJSON(w, http.StatusOK, report)
}
