package process

import (
	"os"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/fsroot"
)

// CompleteSystem fills in what a container needs whose program is systemd, see settings.CompleteSystem. That is seen in
// its root, which mount opens; only where the name of the program asks for it is it called.
func CompleteSystem(c *container.Config, h *container.HostConfig, mount func() (*os.File, error)) error {
	if program, maybe := settings.SystemProgram(c, h); maybe {
		root, err := mount()
		if err != nil {
			return err
		}
		if isSystemd(root, program) {
			settings.ForSystem(h)
		}
		_ = root.Close()
	}
	return settings.CompleteSystem(c, h)
}

// isSystemd reports whether program, a path or a name for the usual folders, is systemd in root.
func isSystemd(root *os.File, program string) bool {
	places := []string{program}
	if !strings.Contains(program, "/") {
		places = nil
		for dir := range strings.SplitSeq(strings.TrimPrefix(defaultPath, "PATH="), ":") {
			places = append(places, path.Join(dir, program))
		}
	}
	for _, place := range places {
		if name, err := fsroot.FromFile(root).Resolve(place); err == nil {
			return path.Base(name) == "systemd"
		}
	}
	return false
}
