package settings

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/api/docker"
	"pier/daemon/engine/internal/outside"
	"pier/daemon/logging"
	"pier/kernel/capability"
	"pier/lib/errkind"
)

// Host is what checks need to know of the machine.
type Host struct {
	CPUs     int
	MemNodes int    // of memory; 0: not known
	Hostname string // of the host, for containers in its UTS or network namespace
	// CgroupV2 tells the default cgroup namespace mode: private there, the host's on v1.
	CgroupV2 bool
	// Throttle are the folders in which processors tell how often heat has slowed them (GHSA-6fw5-f8r9-fgfm).
	Throttle []string
	// NoSwapLimit tells that the kernel cannot bound memory and swap together.
	NoSwapLimit bool
	// Runtimes are the names of other runtimes that were registered; Runtime is the one for those who choose none, "" for
	// our own.
	Runtimes []string
	Runtime  string
	// Init gives an init to those who say nothing about it.
	Init bool
	// Realtime tells that the kernel can share out time of its real-time scheduler.
	Realtime bool
	// AppArmor tells that the kernel has it on.
	AppArmor bool
	// LogDriver and LogOpts are for containers that say nothing of their log.
	LogDriver string
	LogOpts   map[string]string
}

// DefaultShmSize is the size of /dev/shm in bytes where nobody says another.
const DefaultShmSize = 64 << 20

// Runtime is how the one way to run a container is called in inspect.
const Runtime = "pier"

// OwnRuntime reports whether a container's runtime is ours, where no other of that name is registered. Scripts that name
// Docker's own runtimes get it.
func OwnRuntime(name string) bool {
	return slices.Contains([]string{"", Runtime, "runc", "io.containerd.runc.v2"}, name)
}

func refuse(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }

// Complete fills in defaults and checks both parts of a container's settings, after Merge. id gives the default host
// name. It changes c and h, which the caller owns.
func Complete(c *container.Config, h *container.HostConfig, id string, host Host) (warnings []string, err error) {
	if len(Command(c)) == 0 {
		return nil, refuse("no command specified")
	}
	if h.UTSMode.IsHost() && c.Hostname != "" {
		return nil, refuse("conflicting options: hostname and the UTS mode")
	}
	if h.UTSMode.IsHost() && c.Domainname != "" {
		return nil, refuse("conflicting options: domainname and the UTS mode")
	}
	defaults(c, h, id, host)
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	if err := checkHostConfig(c, h); err != nil {
		return nil, err
	}
	if err := checkStrict(c, h); err != nil {
		return nil, err
	}
	if !OwnRuntime(h.Runtime) && !slices.Contains(host.Runtimes, h.Runtime) {
		return nil, refuse("unknown or invalid runtime name: %s", h.Runtime)
	}
	if hc := c.Healthcheck; h.RestartPolicy.Name == RestartOnUnhealthy && (hc == nil || len(hc.Test) == 0 || hc.Test[0] == "NONE") {
		return nil, refuse("invalid restart policy: %s needs a health check: give the container or its image one", RestartOnUnhealthy)
	}
	if _, err := logging.Parse(h.LogConfig.Type, h.LogConfig.Config); err != nil {
		return nil, err
	}
	security, err := ParseSecurity(h.SecurityOpt)
	if err != nil {
		return nil, err
	}
	if p := security.AppArmor; p != "" && p != "unconfined" && !host.AppArmor {
		warnings = append(warnings, fmt.Sprintf("AppArmor is off on this machine: the profile %s has no effect.", p))
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	w, err := checkResources(&h.Resources, host)
	return append(warnings, w...), err
}

func defaults(c *container.Config, h *container.HostConfig, id string, host Host) {
	if h.NetworkMode == "" || h.NetworkMode == network.NetworkDefault {
		h.NetworkMode = network.NetworkBridge
	}
	if c.NetworkDisabled {
		h.NetworkMode = network.NetworkNone
	}
	if c.Hostname == "" && !h.NetworkMode.IsContainer() {
		if h.NetworkMode.IsHost() || h.UTSMode.IsHost() {
			c.Hostname = host.Hostname
		} else {
			c.Hostname = id[:12]
		}
	}
	if h.IpcMode == "" {
		h.IpcMode = container.IPCModePrivate
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = container.CgroupnsModeHost
		if host.CgroupV2 && !h.Privileged {
			h.CgroupnsMode = container.CgroupnsModePrivate
		}
	}
	if h.ShmSize == 0 {
		h.ShmSize = DefaultShmSize
	}
	h.LogConfig.Type, h.LogConfig.Config = logging.Default(h.LogConfig.Type, h.LogConfig.Config, host.LogDriver, host.LogOpts)
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if h.Runtime == "" {
		h.Runtime = cmp.Or(host.Runtime, Runtime)
	}
	if h.Init == nil && host.Init {
		yes := true
		h.Init = &yes
	}
	if s := h.MemorySwappiness; s != nil && *s == -1 { // -1, and no limit of processes, say as little as nothing at all
		h.MemorySwappiness = nil
	}
	if p := h.PidsLimit; p != nil && (*p == 0 || *p == -1) {
		h.PidsLimit = nil
	}
	if h.Memory > 0 && h.MemorySwap == 0 && !host.NoSwapLimit {
		h.MemorySwap = 2 * h.Memory
	}
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = append(DefaultMaskedPaths(), host.Throttle...)
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = DefaultReadonlyPaths()
		}
	}
}

// DefaultMaskedPaths are hidden from every container that does not ask otherwise: they tell of, or act on, the host.
func DefaultMaskedPaths() []string {
	return []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap", "/sys/devices/virtual/thermal"}
}

// DefaultReadonlyPaths may be read in every container that does not ask otherwise, but not written.
func DefaultReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// madeOf reports whether s is of letters, digits and the bytes of more alone.
func madeOf(s, more string) bool {
	for i := range len(s) {
		if !letterOrDigit(s[i]) && strings.IndexByte(more, s[i]) < 0 {
			return false
		}
	}
	return true
}

func validHostname(s string) bool {
	edge := func(c byte) bool { return letterOrDigit(c) || c == '_' }
	return s == "" || len(s) <= 64 && madeOf(s, "_.-") && edge(s[0]) && edge(s[len(s)-1])
}

// CheckName checks a container's name, given without a slash.
func CheckName(name string) error {
	if len(name) < 2 || len(name) > 255 || !docker.IsName(name) {
		return refuse("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

func checkConfig(c *container.Config) error {
	if !validHostname(c.Hostname) {
		return refuse("invalid hostname format: %s", c.Hostname)
	}
	if len(c.Domainname) > 64 || strings.ContainsAny(c.Domainname, " \t\r\n\x00/") {
		return refuse("invalid domainname format: %s", c.Domainname)
	}
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) || strings.ContainsRune(c.WorkingDir, 0) {
			return refuse("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if _, err := ParseSignal(StopSignal(c)); err != nil {
		return err
	}
	for _, e := range c.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			return refuse("invalid environment variable: %s", e)
		}
		if strings.ContainsRune(e, 0) {
			return refuse("invalid environment variable: a value holds a zero byte")
		}
	}
	for _, a := range Command(c) {
		if strings.ContainsRune(a, 0) {
			return refuse("invalid command: an argument holds a zero byte")
		}
	}
	if strings.ContainsAny(c.User, "\n\r\x00") {
		return refuse("invalid user: control characters are not allowed")
	}
	return checkHealth(c.Healthcheck)
}

func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	own, err := outside.Parse(h.Test)
	switch {
	case err != nil:
		return err
	case own != nil || len(h.Test) == 0 || h.Test[0] == "NONE":
	case !slices.Contains([]string{"CMD", "CMD-SHELL"}, h.Test[0]):
		return refuse("Unknown type %q in HEALTHCHECK (try CMD)", h.Test[0])
	case len(h.Test) == 1:
		return refuse("Missing command after HEALTHCHECK %s", h.Test[0])
	}
	for _, d := range []struct {
		name  string
		value int64
	}{
		{"Interval", int64(h.Interval)}, {"Timeout", int64(h.Timeout)},
		{"StartPeriod", int64(h.StartPeriod)}, {"StartInterval", int64(h.StartInterval)},
	} {
		if d.value != 0 && d.value < int64(container.MinimumDuration) {
			return refuse("%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return refuse("Retries in Healthcheck cannot be negative")
	}
	return nil
}

func checkHostConfig(c *container.Config, h *container.HostConfig) error {
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return refuse("can't create 'AutoRemove' container with restart policy")
	}
	if err := checkRestart(h.RestartPolicy); err != nil {
		return err
	}
	switch {
	case !h.IpcMode.Valid():
		return refuse("invalid IPC mode: %v", h.IpcMode)
	case !h.PidMode.Valid():
		return refuse("invalid PID mode: %v", h.PidMode)
	case !h.UTSMode.Valid():
		return refuse("invalid UTS mode: %v", h.UTSMode)
	case !h.CgroupnsMode.Valid():
		return refuse("invalid cgroup namespace mode: %v", h.CgroupnsMode)
	case !h.UsernsMode.Valid():
		return refuse("invalid USER mode: %v", h.UsernsMode)
	case h.ShmSize < 0:
		return refuse("SHM size can not be less than 0")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return refuse("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case !h.Isolation.IsDefault():
		return refuse("invalid isolation '%s' on linux", h.Isolation)
	}
	if err := checkShared(c, h); err != nil {
		return err
	}
	if _, err := capability.Adjust(nil, h.CapAdd, h.CapDrop); err != nil {
		return err
	}
	if err := checkNames(h); err != nil {
		return err
	}
	for k := range h.Annotations {
		if k == "" {
			return refuse("invalid Annotations: the empty string is not permitted as an annotation key")
		}
	}
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			if err := checkHostPort(b.HostPort); err != nil || !port.IsValid() {
				return refuse("invalid port specification: %q", b.HostPort)
			}
		}
	}
	for dest := range h.Tmpfs {
		if err := checkTarget(dest); err != nil {
			return err
		}
	}
	for k, v := range h.Sysctls {
		if err := checkSysctl(h, k, v); err != nil {
			return err
		}
	}
	if err := CheckLinks(h); err != nil {
		return err
	}
	if _, err := StorageSize(h.StorageOpt); err != nil {
		return err
	}
	return notYet(h)
}

// checkShared refuses what a container cannot have of its own when it shares another one's network.
func checkShared(c *container.Config, h *container.HostConfig) error {
	switch {
	case !h.NetworkMode.IsContainer():
	case h.NetworkMode.ConnectedContainer() == "":
		return refuse("invalid network mode: %s", h.NetworkMode)
	case c.Hostname != "" || c.Domainname != "":
		return refuse("conflicting options: hostname and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return refuse("conflicting options: port publishing and the container type network mode")
	case len(h.ExtraHosts) > 0:
		return refuse("conflicting options: custom host-to-IP mapping and the network mode")
	case len(h.DNS) > 0:
		return refuse("conflicting options: dns and the network mode")
	case len(c.ExposedPorts) > 0:
		return refuse("conflicting options: port exposing and the container type network mode")
	}
	return nil
}

// checkNames checks what becomes lines, or words of lines, of /etc/hosts and resolv.conf.
func checkNames(h *container.HostConfig) error {
	for _, host := range h.ExtraHosts {
		name, _, ok := strings.Cut(host, ":")
		if !ok {
			name, _, ok = strings.Cut(host, "=")
		}
		if !ok || name == "" || strings.ContainsAny(host, " \t\r\n\x00") {
			return refuse("bad format for add-host: %q", host)
		}
		if _, err := netip.ParseAddr(strings.Trim(host[len(name)+1:], "[]")); err != nil && host[len(name)+1:] != "host-gateway" {
			return refuse("invalid IP address in add-host: %q", host[len(name)+1:])
		}
	}
	for _, word := range slices.Concat(h.DNSSearch, h.DNSOptions) {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return refuse("invalid dns search domain or option %q: want one word", word)
		}
	}
	return nil
}

// RestartOnUnhealthy is the name of Pier's own restart policy, an addition to the API's: as on-failure, and a container
// whose health check says unhealthy is stopped and started again.
const RestartOnUnhealthy = "on-unhealthy"

func checkRestart(p container.RestartPolicy) error {
	if p.Name == RestartOnUnhealthy {
		if p.MaximumRetryCount < 0 {
			return refuse("invalid restart policy: maximum retry count cannot be negative")
		}
		return nil
	}
	if err := container.ValidateRestartPolicy(p); err != nil {
		return refuse("%w", err)
	}
	return nil
}

// notYet names what is asked for and does not exist here, instead of running a container without it.
func notYet(h *container.HostConfig) error {
	unsupported := func(what string) error {
		return errkind.New(errkind.Unsupported, "%s is not supported: create the container without it", what)
	}
	switch {
	case h.Cgroup != "":
		return unsupported("joining another container's cgroup")
	case h.VolumeDriver != "" && h.VolumeDriver != "local":
		return noVolumeDriver(h.VolumeDriver)
	}
	return nil
}

func checkHostPort(s string) error {
	if s == "" {
		return nil
	}
	first, last, ranged := strings.Cut(s, "-")
	lo, err := strconv.ParseUint(first, 10, 16)
	if err != nil || !ranged {
		return err
	}
	hi, err := strconv.ParseUint(last, 10, 16)
	if err == nil && hi < lo {
		err = strconv.ErrRange
	}
	return err
}

// The sysctls that belong to a namespace of the container's own; all others are the host's.
var ipcSysctls = []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
	"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}

// validSysctl accepts names of two or more parts separated by dots, none empty: one file below /proc/sys and no other.
func validSysctl(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) > 1 && !slices.Contains(parts, "") && madeOf(name, "._-@:/") && !strings.Contains(name, "..") &&
		!strings.Contains("/"+name+"/", "/./")
}

func checkSysctl(h *container.HostConfig, name, value string) error {
	if !validSysctl(name) || strings.ContainsAny(value, "\n\r\x00") {
		return refuse("invalid sysctl %q: a name of letters, digits, dots and a value of one line are expected", name)
	}
	switch {
	case strings.HasPrefix(name, "net."):
		if h.NetworkMode.IsHost() {
			return refuse("sysctl %q not allowed in host network namespace", name)
		}
	case strings.HasPrefix(name, "fs.mqueue."), slices.Contains(ipcSysctls, name):
		if h.IpcMode.IsHost() {
			return refuse("sysctl %q not allowed in host ipc namespace", name)
		}
	default:
		return refuse("sysctl %q is not in a separate kernel namespace", name)
	}
	return nil
}
