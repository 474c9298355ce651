package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pier/api/shim"
	"pier/daemon/logging"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// Config is everything that can be configured. The names in the comments are those of the flags and of the keys in
// the configuration file; they mean what they mean to dockerd.
type Config struct {
	DataRoot     string       // data-root: what lasts
	ExecRoot     string       // exec-root: what a reboot ends
	Hosts        []string     // host: unix:///path or tcp://address:port; none for pier.sock in the exec root
	Group        string       // group that may use unix sockets; "" for pier or docker, where they exist
	TLS          *bool        // tls: nil unless said
	TLSVerify    bool         // tlsverify: clients need a certificate of TLSCACert
	TLSCACert    string       // tlscacert: PEM file
	TLSCert      string       // tlscert
	TLSKey       string       // tlskey
	Pidfile      string       // pidfile; "" for pierd.pid in the exec root
	Bridge       string       // bridge of the network "bridge"; "none" for no such network
	BIP          string       // bip: its address and prefix; "" for a free range
	MTU          int          // mtu of container networks; 0 for the kernel's default
	DNS          []netip.Addr // dns: name servers instead of the host's
	CgroupParent string       // cgroup-parent: absolute, below the hierarchies' mount points
	CDIDirs      []string     // cdi-spec-dir: descriptions of devices; none for /etc/cdi and /var/run/cdi
	Insecure     []string     // insecure-registry: host[:port] spoken to without TLS
	LogDriver    string       // log-driver of containers that name none
	LogOpts      []string     // log-opt: name=value, its options (a map log-opts in the file)
	Labels       []string     // label: key=value of the daemon itself
	LogLevel     string       // log-level: debug, info, warn, error (fatal is error)
	Debug        bool         // debug: log-level debug
	Runtimes     Runtimes     // add-runtime, runtimes in the file: other OCI runtimes by name
	NewRuntime   string       // default-runtime: the one for containers that choose none; "" for our own
	Init         bool         // init for containers that say nothing about it
	Runtime      string       // path of pier-runtime; "" for the one beside pierd, then the one on PATH
}

// Runtimes are OCI runtimes by name.
type Runtimes map[string]shim.Runtime

// check refuses a name or path that can be no runtime's.
func (r Runtimes) check() error {
	for name, runtime := range r {
		if name == "" || name == "pier" || strings.ContainsAny(name, "/ \t\n") {
			return errkind.New(errkind.Invalid, "runtime %q: want a name of its own, without slashes", name)
		}
		if !filepath.IsAbs(runtime.Path) && strings.Contains(runtime.Path, "/") || runtime.Path == "" {
			return errkind.New(errkind.Invalid, "runtime %s: want the absolute path of its program, or a name on PATH, not %q", name, runtime.Path)
		}
	}
	return nil
}

// Default is the configuration without flags and without a file.
func Default() Config {
	return Config{DataRoot: "/var/lib/pier", ExecRoot: "/run/pier", Bridge: "pier0", CgroupParent: "/pier", LogLevel: "info", LogDriver: logging.JSONFile}
}

// minMTU is the least that IPv4 works with (RFC 791).
const minMTU = 68

// Level is the least important message to log.
func (c Config) Level() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	return map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError, "fatal": slog.LevelError}[c.LogLevel]
}

// Sockets are the addresses to listen on.
func (c Config) Sockets() []string {
	if len(c.Hosts) > 0 {
		return c.Hosts
	}
	return []string{"unix://" + filepath.Join(c.ExecRoot, "pier.sock")}
}

// PidPath is where the process identifier goes.
func (c Config) PidPath() string {
	if c.Pidfile != "" {
		return c.Pidfile
	}
	return filepath.Join(c.ExecRoot, "pierd.pid")
}

// startPath is where the process identifier goes once more, with what tells it from that of a later process.
func (c Config) startPath() string { return filepath.Join(c.ExecRoot, "pierd.start") }

// Served reports whether the living process pid, which the pid file names, is the pierd that has last served these roots: its
// number is not one that another process has got since. Where nothing is noted of this number it is believed: a release that
// makes no notes leaves those of the pierd before it.
func (c Config) Served(pid int) bool {
	text, err := os.ReadFile(c.startPath())
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return false
	}
	if noted, _, _ := strings.Cut(string(text), " "); noted != strconv.Itoa(pid) {
		return true
	}
	start, err := pidfd.StartTime(pid)
	return err == nil && string(text) == signature(pid, start)
}

// signature names a process for as long as the machine runs.
func signature(pid int, start uint64) string { return fmt.Sprintf("%d %d\n", pid, start) }

// Validate checks the configuration by itself, without looking at the host. All errors are of kind Invalid.
func (c Config) Validate() error {
	for name, path := range map[string]string{"data-root": c.DataRoot, "exec-root": c.ExecRoot, "cgroup-parent": c.CgroupParent} {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return errkind.New(errkind.Invalid, "%s %q: want a clean absolute path below /", name, path)
		}
	}
	if err := c.Runtimes.check(); err != nil {
		return err
	}
	if _, known := c.Runtimes[c.NewRuntime]; !known && c.NewRuntime != "" && c.NewRuntime != "pier" {
		return errkind.New(errkind.Invalid, "default-runtime %q: no runtime of this name is registered", c.NewRuntime)
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error", "fatal":
	default:
		return errkind.New(errkind.Invalid, "invalid logging level: %q: want debug, info, warn, error or fatal", c.LogLevel)
	}
	if len(c.Bridge) > 15 || strings.ContainsAny(c.Bridge, "/ \t\n") || c.Bridge == "" {
		return errkind.New(errkind.Invalid, "bridge %q: want the name of an interface, at most 15 characters, or none", c.Bridge)
	}
	if c.Bridge == "none" && c.BIP != "" {
		return errkind.New(errkind.Invalid, "bip and bridge=none: without a bridge there is nothing that could have the address")
	}
	if c.BIP != "" {
		if p, err := netip.ParsePrefix(c.BIP); err != nil || !p.Addr().Is4() || p.Masked().Addr() == p.Addr() {
			return errkind.New(errkind.Invalid, "bip %q: want an address with its prefix length such as 172.30.0.1/16", c.BIP)
		}
	}
	if c.MTU != 0 && (c.MTU < minMTU || c.MTU > 65535) {
		return errkind.New(errkind.Invalid, "mtu %d: want %d to 65535, or 0 for the kernel's default", c.MTU, minMTU)
	}
	for _, l := range c.Labels {
		if key, _, ok := strings.Cut(l, "="); !ok || key == "" || strings.ContainsAny(key, " \t\n") {
			return errkind.New(errkind.Invalid, "bad attribute format: %s: want key=value", l)
		}
	}
	if _, err := logging.Parse(c.LogDriver, c.logOptions()); err != nil {
		return fmt.Errorf("log-driver %s: %w", c.LogDriver, err)
	}
	for _, o := range c.LogOpts {
		if !strings.Contains(o, "=") {
			return errkind.New(errkind.Invalid, "log-opt %q: want name=value", o)
		}
	}
	for _, h := range c.Hosts {
		if err := c.validateHost(h); err != nil {
			return err
		}
	}
	return c.validateTLS()
}

// logOptions are the daemon's options for logs, by name.
func (c Config) logOptions() map[string]string {
	all := map[string]string{}
	for _, o := range c.LogOpts {
		name, value, _ := strings.Cut(o, "=")
		all[name] = value
	}
	return all
}

func (c Config) validateHost(host string) error {
	scheme, addr, ok := strings.Cut(host, "://")
	switch {
	case ok && scheme == "unix" && filepath.IsAbs(addr):
		return nil
	case ok && scheme == "tcp":
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return errkind.New(errkind.Invalid, "invalid host %q: want tcp://address:port: %w", host, err)
		}
		if c.TLSVerify || c.TLS != nil && !*c.TLS {
			return nil
		}
		return errkind.New(errkind.Invalid, "host %q gives root on this machine to everyone who reaches it: set --tlsverify with --tlscacert, --tlscert and --tlskey, or --tls=false if you mean it", host)
	}
	return errkind.New(errkind.Invalid, "invalid host %q: want unix:///path or tcp://address:port", host)
}

func (c Config) validateTLS() error {
	if !c.TLSVerify && (c.TLS == nil || !*c.TLS) {
		return nil
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		return errkind.New(errkind.Invalid, "TLS needs both --tlscert and --tlskey")
	}
	if c.TLSVerify && c.TLSCACert == "" {
		return errkind.New(errkind.Invalid, "--tlsverify needs --tlscacert: only certificates of that authority are accepted")
	}
	return nil
}
