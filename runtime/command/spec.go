package command

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/spf13/cobra"

	"pier/kernel/capability"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

func specCommand(o *options) *cobra.Command {
	var bundle string
	c := &cobra.Command{Use: "spec", Short: "Write a configuration to begin with", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			name := filepath.Join(bundle, "config.json")
			if _, err := os.Lstat(name); err == nil {
				return errkind.New(errkind.Conflict, "file %s exists. Remove it first", name)
			}
			data, err := json.MarshalIndent(exampleSpec(), "", "\t")
			if err != nil {
				return err
			}
			return atomicfile.WriteVolatile(name, append(data, '\n'), 0o666)
		}}
	c.Flags().StringVarP(&bundle, "bundle", "b", "", "folder to write to")
	return c
}

// exampleSpec is a container with few rights that runs a shell on a terminal.
func exampleSpec() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal: true, Args: []string{"sh"}, Cwd: "/", NoNewPrivileges: true,
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Root: &specs.Root{Path: "rootfs", Readonly: true}, Hostname: "pier",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
			Resources:  &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

func featuresCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "features", Short: "Print what this runtime can do", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			yes, no := true, false
			return o.printJSON(features.Features{
				OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
				Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
				MountOptions: oci.MountOptions(),
				Linux: &features.Linux{
					Namespaces:      []string{"cgroup", "ipc", "mount", "network", "pid", "user", "uts"},
					Capabilities:    capability.All(),
					Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
					Seccomp:         &features.Seccomp{Enabled: &yes},
					Apparmor:        &features.Apparmor{Enabled: &yes},
					Selinux:         &features.Selinux{Enabled: &no},
					MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
				},
			})
		}}
}
