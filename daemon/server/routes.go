package server

import (
	"net/http"
	"strings"

	"pier/lib/errkind"
)

// routes is the table of everything served: a pattern of net/http's ServeMux, without the version, and its handler.
// Operations that are documented but not served are in notserved.go; anything else is "page not found".
func (s *Server) routes() map[string]handler {
	t := map[string]handler{
		"/":            pageNotFound,
		"GET /_ping":   s.ping, // GET stands for HEAD too
		"GET /version": s.systemVersion,
		"GET /info":    s.systemInfo,
		"GET /events":  s.events,
		"POST /auth":   s.auth,

		"GET /system/df": s.diskUsage,
		"GET /plugins":   s.plugins,

		"GET /containers/json":           s.containerList,
		"POST /containers/create":        s.containerCreate,
		"POST /containers/prune":         s.containerPrune,
		"GET /containers/{id}/json":      s.containerInspect,
		"GET /containers/{id}/top":       s.containerTop,
		"GET /containers/{id}/stats":     s.containerStats,
		"GET /containers/{id}/logs":      s.containerLogs,
		"GET /containers/{id}/attach/ws": s.containerAttachWebsocket,
		"POST /containers/{id}/attach":   s.containerAttach,
		"POST /containers/{id}/start":    s.containerStart,
		"POST /containers/{id}/stop":     s.containerStop,
		"POST /containers/{id}/restart":  s.containerRestart,
		"POST /containers/{id}/kill":     s.containerKill,
		"POST /containers/{id}/pause":    s.containerPause,
		"POST /containers/{id}/unpause":  s.containerUnpause,
		"POST /containers/{id}/wait":     s.containerWait,
		"POST /containers/{id}/resize":   s.containerResize,
		"POST /containers/{id}/update":   s.containerUpdate,
		"POST /containers/{id}/rename":   s.containerRename,
		"DELETE /containers/{id}":        s.containerRemove,
		"DELETE /containers/{id}/{link}": s.linkRemove,

		"GET /containers/{id}/checkpoints":                 s.checkpointList,
		"POST /containers/{id}/checkpoints":                s.checkpointCreate,
		"DELETE /containers/{id}/checkpoints/{checkpoint}": s.checkpointRemove,

		"GET /containers/{id}/archive": s.containerArchiveGet, // HEAD too
		"PUT /containers/{id}/archive": s.containerArchivePut,
		"GET /containers/{id}/export":  s.containerExport,
		"GET /containers/{id}/changes": s.containerChanges,
		"POST /commit":                 s.commit,

		"POST /containers/{id}/exec": s.execCreate,
		"POST /exec/{id}/start":      s.execStart,
		"POST /exec/{id}/resize":     s.execResize,
		"GET /exec/{id}/json":        s.execInspect,

		"GET /images/json":    s.imageList,
		"GET /images/get":     s.imageGet,
		"POST /images/create": s.imageCreate,
		"POST /images/load":   s.imageLoad,
		"POST /images/prune":  s.imagePrune,
		// The names of images hold slashes, which a pattern cannot have in its middle.
		"GET /images/{rest...}": named(map[string]handler{"/json": s.imageInspect, "/history": s.imageHistory, "/get": s.imageGet,
			"/attestations": notServed("ImageAttestations")}),
		"POST /images/{rest...}":      named(map[string]handler{"/tag": s.imageTag, "/push": notServed("ImagePush")}),
		"DELETE /images/{rest...}":    named(map[string]handler{"": s.imageDelete}),
		"GET /distribution/{rest...}": named(map[string]handler{"/json": notServed("DistributionInspect")}),

		"POST /build":       s.build,
		"POST /build/prune": s.buildPrune,

		"GET /networks":                  s.networkList,
		"POST /networks/create":          s.networkCreate,
		"POST /networks/prune":           s.networkPrune,
		"GET /networks/{id}":             s.networkInspect,
		"DELETE /networks/{id}":          s.networkRemove,
		"POST /networks/{id}/connect":    s.networkConnect,
		"POST /networks/{id}/disconnect": s.networkDisconnect,

		"GET /volumes":           s.volumeList,
		"POST /volumes/create":   s.volumeCreate,
		"POST /volumes/prune":    s.volumePrune,
		"GET /volumes/{name}":    s.volumeInspect,
		"DELETE /volumes/{name}": s.volumeRemove,
	}
	for pattern, operation := range operationsNotServed {
		t[pattern] = notServed(operation)
	}
	for pattern := range operationsOfSwarm {
		t[pattern] = notInSwarm
	}
	return t
}

// named splits {rest...} into an object's name and one of the endings in h, and gives the request to its handler.
func named(h map[string]handler) handler {
	return func(w http.ResponseWriter, r *request) error {
		rest := r.PathValue("rest")
		for ending, serve := range h {
			if name, ok := strings.CutSuffix(rest, ending); ok && ending != "" && name != "" {
				r.name = name
				return serve(w, r)
			}
		}
		if serve, ok := h[""]; ok && rest != "" {
			r.name = rest
			return serve(w, r)
		}
		return pageNotFound(w, r)
	}
}

func pageNotFound(http.ResponseWriter, *request) error {
	return errkind.New(errkind.NotFound, "page not found")
}
