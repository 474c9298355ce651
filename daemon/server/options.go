package server

import (
	"log/slog"

	"github.com/moby/moby/api/types/events"

	"pier/daemon/build"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/network"
	"pier/daemon/volume"
	"pier/lib/feed"
)

// Options are the rooms that the server stands on, and what it tells about the host. All fields are needed.
type Options struct {
	Engine   *engine.Engine
	Images   *image.Store
	Layers   *layer.Store
	Networks *network.Networks
	Volumes  *volume.Volumes
	Builder  *build.Builder
	Events   *feed.Feed[events.Message]
	Log      *slog.Logger
	Host
}

// Host is what GET /version and GET /info tell beyond the rooms.
type Host struct {
	ID       string   // of this installation, stable across restarts
	Version  string   // of Pier
	Commit   string   // source revision, "" if unknown
	Built    string   // RFC 3339, "" if unknown
	Root     string   // data root
	Debug    bool     // debug messages are on
	Insecure []string // registries spoken to without TLS
	Labels   []string // the daemon's own labels
}
