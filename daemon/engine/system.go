package engine

import (
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image/layer"
)

// completeSystem fills in what a container for systemd needs. Whether it is one is seen in the image; only where the
// name of its program asks for it is the image looked into.
func (e *Engine) completeSystem(r *row) error {
	if program, maybe := settings.SystemProgram(r.Config, r.Host); maybe {
		root, err := e.o.Layers.Mount(r.Chain, nil, layer.MountOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		if process.IsSystemd(root, program) {
			settings.ForSystem(r.Host)
		}
		_ = root.Close()
	}
	return settings.CompleteSystem(r.Config, r.Host, r.ID)
}
