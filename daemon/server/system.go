package server

import (
	"bufio"
	"cmp"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/plugin"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/daemon/logging"
	"pier/kernel/fsinfo"
	"pier/lib/errkind"
)

// ping serves GET and HEAD /_ping. The classic builder is announced, so that stock clients use it unless told not to; and
// what Pier adds to the API, for its own client.
func (s *Server) ping(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", string(build.BuilderV1))
	h.Set("Swarm", "inactive")
	h.Set(docker.AdditionsHeader, docker.Additions)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, _ = w.Write([]byte("OK"))
	return nil
}

// systemVersion serves GET /version.
func (s *Server) systemVersion(w http.ResponseWriter, _ *request) error {
	kernel := kernelVersion()
	details := map[string]string{
		"ApiVersion":    docker.MaxVersion.String(),
		"MinAPIVersion": docker.MinVersion.String(),
		"Arch":          runtime.GOARCH,
		"Os":            runtime.GOOS,
		"GoVersion":     runtime.Version(),
		"KernelVersion": kernel,
		"Experimental":  "true",
		"GitCommit":     s.o.Commit,
		"BuildTime":     s.o.Built,
	}
	return writeJSON(w, http.StatusOK, system.VersionResponse{
		Platform:      system.PlatformInfo{Name: "Pier"},
		Version:       s.o.Version,
		APIVersion:    docker.MaxVersion.String(),
		MinAPIVersion: docker.MinVersion.String(),
		Os:            runtime.GOOS,
		Arch:          runtime.GOARCH,
		GitCommit:     s.o.Commit,
		GoVersion:     runtime.Version(),
		KernelVersion: kernel,
		BuildTime:     s.o.Built,
		Experimental:  true, // older clients look here
		Components:    []system.ComponentVersion{{Name: "Engine", Version: s.o.Version, Details: details}},
	})
}

// systemInfo serves GET /info.
func (s *Server) systemInfo(w http.ResponseWriter, r *request) error {
	ctx := r.Context()
	containers, err := s.o.Engine.Containers().List(ctx, engine.ListOptions{All: true})
	if err != nil {
		return err
	}
	info := s.hostInfo()
	info.Containers = len(containers)
	for _, c := range containers {
		switch c.State {
		case container.StateRunning:
			info.ContainersRunning++
		case container.StatePaused:
			info.ContainersPaused++
		default:
			info.ContainersStopped++
		}
	}
	info.Images = len(s.o.Images.List(ctx))
	return writeJSON(w, http.StatusOK, legacyInfo(r.version, info))
}

// hostInfo is the part of GET /info that does not depend on the rooms.
func (s *Server) hostInfo() system.Info {
	hostname, _ := os.Hostname()
	cgroups := "1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		cgroups = "2"
	}
	backing, err := fsinfo.Type(s.o.Root)
	if err != nil {
		backing = "unknown"
	}
	system := system.Info{
		ID:                 s.o.ID,
		Driver:             "overlay2",
		DriverStatus:       [][2]string{{"Backing Filesystem", backing}, {"Native Overlay Diff", "true"}},
		Plugins:            system.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: logging.Drivers()},
		MemoryLimit:        true,
		SwapLimit:          true,
		CPUCfsPeriod:       true,
		CPUCfsQuota:        true,
		CPUShares:          true,
		CPUSet:             true,
		PidsLimit:          true,
		OomKillDisable:     cgroups == "1",
		IPv4Forwarding:     firstLine("/proc/sys/net/ipv4/ip_forward") == "1",
		Debug:              s.o.Debug,
		NFd:                countEntries("/proc/self/fd"),
		NGoroutines:        runtime.NumGoroutine(),
		NEventsListener:    int(s.listeners.Load()),
		SystemTime:         time.Now().Format(time.RFC3339Nano),
		LoggingDriver:      s.o.LogDriver,
		CgroupDriver:       "cgroupfs",
		CgroupVersion:      cgroups,
		KernelVersion:      kernelVersion(),
		OperatingSystem:    osRelease("PRETTY_NAME"),
		OSVersion:          osRelease("VERSION_ID"),
		OSType:             "linux",
		Architecture:       machine(),
		IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig:     s.registryConfig(),
		NCPU:               runtime.NumCPU(),
		MemTotal:           memTotal(),
		DockerRootDir:      s.o.Root,
		Name:               hostname,
		Labels:             list(s.o.Labels),
		ServerVersion:      s.o.Version,
		Runtimes:           s.runtimes(),
		DefaultRuntime:     cmp.Or(s.o.Engine.DefaultRuntime(), "pier"),
		Swarm:              swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive, RemoteManagers: []swarm.Peer{}},
		LiveRestoreEnabled: true,
		ExperimentalBuild:  true,
		Isolation:          "",
		InitBinary:         "docker-init",
		SecurityOptions:    []string{"name=seccomp,profile=builtin"},
		FirewallBackend:    &system.FirewallInfo{Driver: "nftables"},
		CDISpecDirs:        s.o.Engine.CDIDirs(),
		Warnings:           []string{},
	}
	return system
}

func (s *Server) registryConfig() *registry.ServiceConfig {
	c := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}},
		Mirrors:               []string{},
	}
	for _, host := range s.o.Insecure {
		c.IndexConfigs[host] = &registry.IndexInfo{Name: host, Mirrors: []string{}}
	}
	return c
}

// auth serves POST /auth. Pier asks a registry for credentials when it needs them; it checks none beforehand.
func (s *Server) auth(w http.ResponseWriter, r *request) error {
	var a registry.AuthConfig
	if err := r.decode(w, &a, false); err != nil {
		return err
	}
	return errkind.New(errkind.Unsupported, "pierd does not check credentials yet; they are used as they are when an image is pulled: write them to the client's config.json")
}

// plugins serves GET /plugins: there are none.
func (s *Server) plugins(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, []plugin.Plugin{})
}

func kernelVersion() string { return firstLine("/proc/sys/kernel/osrelease") }

// machine is what uname -m says, which is how Docker names an architecture here.
func machine() string {
	return cmp.Or(map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH], runtime.GOARCH)
}

func firstLine(path string) string {
	data, _ := os.ReadFile(path) // "" where the host does not tell
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

func countEntries(dir string) int {
	d, err := os.Open(dir)
	if err != nil {
		return -1
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return len(names)
}

// osRelease returns one field of /etc/os-release.
func osRelease(field string) string {
	data, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+"="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// memTotal is the host's memory in bytes, 0 if it does not tell.
func memTotal() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if kib, ok := strings.CutPrefix(sc.Text(), "MemTotal:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

func (s *Server) runtimes() map[string]system.RuntimeWithStatus {
	all := map[string]system.RuntimeWithStatus{"pier": {Runtime: system.Runtime{Path: "pier-runtime"}}}
	for name, r := range s.o.Engine.Runtimes() {
		all[name] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: r.Path, Args: r.Args}}
	}
	return all
}
