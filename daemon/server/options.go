package server

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"pier/daemon/build"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/network"
	"pier/daemon/store/journal"
	"pier/daemon/volume"
	"pier/lib/id"
	"pier/lib/version"
)

// Options are the rooms that the server stands on, and what it tells about the host. All fields are needed.
type Options struct {
	Engine   *engine.Engine
	Images   *image.Store
	Layers   *layer.Store
	Networks *network.Networks
	Volumes  *volume.Volumes
	Builder  *build.Builder
	Events   *journal.Journal
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
	// LogDriver is that of containers which name none.
	LogDriver string
}

// DescribeHost fills in what is known of this program and of the installation below the data root root: its
// identifier is made at the first start and kept in the file engine-id.
func DescribeHost(root string) (Host, error) {
	engineID, err := id.Kept(filepath.Join(root, "engine-id"))
	if err != nil {
		return Host{}, fmt.Errorf("identifier of this installation: %w", err)
	}
	v := version.Read()
	return Host{ID: engineID, Version: v.Number, Commit: v.Commit, Built: v.Time, Root: root}, nil
}
