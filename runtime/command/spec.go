package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/spf13/cobra"

	"pier/kernel/capability"
	"pier/kernel/seccomp"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

func specCommand(o *options) *cobra.Command {
	var bundle string
	var rootless bool
	c := &cobra.Command{Use: "spec", Short: "Write a configuration to begin with", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			name := filepath.Join(bundle, "config.json")
			if _, err := os.Lstat(name); err == nil {
				return errkind.New(errkind.Conflict, "file %s exists. Remove it first", name)
			}
			spec := exampleSpec()
			if rootless {
				withoutRoot(spec)
			}
			data, err := json.MarshalIndent(spec, "", "\t")
			if err != nil {
				return err
			}
			return atomicfile.WriteVolatile(name, append(data, '\n'), 0o666)
		}}
	c.Flags().StringVarP(&bundle, "bundle", "b", "", "folder to write to")
	c.Flags().BoolVar(&rootless, "rootless", false, "for a container whose root is this user, in a user namespace")
	return c
}

// withoutRoot changes spec to what a user without rights can have: a user namespace that maps the user alone, the host's
// network, and no limits.
func withoutRoot(s *specs.Spec) {
	var left []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			left = append(left, n)
		}
	}
	s.Linux.Namespaces = append(left, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getegid()), Size: 1}}
	s.Linux.Resources = nil
	var mounts []specs.Mount
	for _, m := range s.Mounts {
		switch m.Destination {
		case "/sys": // sysfs belongs to the owner of the network namespace
			m = specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
		case "/sys/fs/cgroup":
			continue
		}
		var options []string
		for _, o := range m.Options {
			if !strings.HasPrefix(o, "gid=") && !strings.HasPrefix(o, "uid=") {
				options = append(options, o)
			}
		}
		m.Options = options
		mounts = append(mounts, m)
	}
	s.Mounts = mounts
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
			modes, flags := oci.MemoryPolicies()
			return o.printJSON(features.Features{
				OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
				Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
				MountOptions: oci.MountOptions(),
				Linux: &features.Linux{
					Namespaces:   oci.Namespaces(),
					Capabilities: capability.Names(^uint64(0)),
					Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
					Seccomp: &features.Seccomp{Enabled: &yes, Actions: seccomp.Actions(), Operators: seccomp.Operators(),
						Archs: seccomp.Architectures(), KnownFlags: seccomp.KnownFlags(), SupportedFlags: seccomp.SupportedFlags()},
					Apparmor:        &features.Apparmor{Enabled: &yes},
					Selinux:         &features.Selinux{Enabled: &yes},
					IntelRdt:        &features.IntelRdt{Enabled: &no, Schemata: &no, Monitoring: &no},
					MemoryPolicy:    &features.MemoryPolicy{Modes: modes, Flags: flags},
					MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
					NetDevices:      &features.NetDevices{Enabled: &yes},
				},
				// The one annotation that engines look at to know whether checkpoint is there.
				Annotations: map[string]string{"org.opencontainers.runc.checkpoint.enabled": "true"},
			})
		}}
}
