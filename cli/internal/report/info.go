package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
)

// Info prints the lines of `info` about the daemon, but for its warnings.
func Info(w io.Writer, info system.Info) {
	line := func(indent int, key string, value any) {
		if text := fmt.Sprint(value); text != "" {
			fmt.Fprintf(w, "%*s%s: %s\n", indent, "", key, text)
		}
	}
	line(1, "Containers", info.Containers)
	line(2, "Running", info.ContainersRunning)
	line(2, "Paused", info.ContainersPaused)
	line(2, "Stopped", info.ContainersStopped)
	line(1, "Images", info.Images)
	line(1, "Server Version", info.ServerVersion)
	line(1, "Storage Driver", info.Driver)
	for _, pair := range info.DriverStatus {
		line(2, pair[0], pair[1])
	}
	line(1, "Logging Driver", info.LoggingDriver)
	line(1, "Cgroup Driver", info.CgroupDriver)
	line(1, "Cgroup Version", info.CgroupVersion)
	line(1, "Plugins", "\n  Volume: "+strings.Join(info.Plugins.Volume, " ")+"\n  Network: "+strings.Join(info.Plugins.Network, " ")+"\n  Log: "+strings.Join(info.Plugins.Log, " "))
	runtimes := make([]string, 0, len(info.Runtimes))
	for name := range info.Runtimes {
		runtimes = append(runtimes, name)
	}
	slices.Sort(runtimes)
	line(1, "Runtimes", strings.Join(runtimes, " "))
	line(1, "Default Runtime", info.DefaultRuntime)
	if len(info.SecurityOptions) > 0 {
		fmt.Fprintf(w, " Security Options:\n")
		for _, o := range info.SecurityOptions {
			fmt.Fprintf(w, "  %s\n", strings.TrimPrefix(o, "name="))
		}
	}
	line(1, "Kernel Version", info.KernelVersion)
	line(1, "Operating System", info.OperatingSystem)
	line(1, "OSType", info.OSType)
	line(1, "Architecture", info.Architecture)
	line(1, "CPUs", info.NCPU)
	line(1, "Total Memory", units.BytesSize(float64(info.MemTotal)))
	line(1, "Name", info.Name)
	line(1, "ID", info.ID)
	line(1, "Docker Root Dir", info.DockerRootDir)
	line(1, "Debug Mode", info.Debug)
	line(1, "Experimental", info.ExperimentalBuild)
	line(1, "Live Restore Enabled", info.LiveRestoreEnabled)
}
