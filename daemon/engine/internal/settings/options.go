package settings

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Security is a container's security options, decoded.
type Security struct {
	NoNewPrivileges bool
	WritableCgroups bool
	// Systemd makes the container one for systemd as its first process.
	Systemd bool
	// Seccomp is "" for the default profile, "unconfined", or a profile's JSON.
	Seccomp string
	// AppArmor is a profile's name, "" for none asked for. Hosts without AppArmor warn and go on: Docker goes on too.
	AppArmor string
}

// SeccompUnconfined asks for no filter.
const SeccompUnconfined = "unconfined"

// ParseSecurity decodes HostConfig.SecurityOpt. SELinux labels are accepted and have no effect where SELinux is absent.
func ParseSecurity(opts []string) (Security, error) {
	var s Security
	for _, opt := range opts {
		switch opt {
		case "no-new-privileges":
			s.NoNewPrivileges = true
			continue
		case "writable-cgroups":
			s.WritableCgroups = true
			continue
		case systemOption:
			s.Systemd = true
			continue
		case "disable":
			continue
		}
		k, v, ok := strings.Cut(opt, "=")
		if !ok {
			k, v, ok = strings.Cut(opt, ":")
		}
		if !ok {
			return s, refuse("invalid --security-opt 1: %q", opt)
		}
		var err error
		switch k {
		case "label":
		case "apparmor":
			s.AppArmor = v
		case "seccomp":
			if s.Seccomp = v; v == "builtin" {
				s.Seccomp = ""
			}
		case "no-new-privileges":
			s.NoNewPrivileges, err = strconv.ParseBool(v)
		case "writable-cgroups":
			s.WritableCgroups, err = strconv.ParseBool(v)
		case systemOption:
			s.Systemd, err = strconv.ParseBool(v)
		default:
			err = strconv.ErrSyntax
		}
		if err != nil {
			return s, refuse("invalid --security-opt 2: %q", opt)
		}
	}
	return s, nil
}

// signals are those of x86-64 and arm64, by name without SIG.
var signals = [...]string{1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
	"PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM",
	"PROF", "WINCH", "IO", "PWR", "SYS"}

const (
	rtMin = 34 // as the C library counts: it keeps 32 and 33 to itself
	rtMax = 64
)

// SignalName is the reverse of ParseSignal: "SIGTERM", or the number where it has no name.
func SignalName(n int) string {
	if n > 0 && n < len(signals) && signals[n] != "" {
		return "SIG" + signals[n]
	}
	return strconv.Itoa(n)
}

// SIGKILL and SIGTERM are the two signals Pier itself sends.
const (
	SIGKILL = 9
	SIGTERM = 15
)

// StopSignal names the signal that ends a container, SIGTERM where c does not say. It is not written into c: an image that
// is made of the container says no more than the container does.
func StopSignal(c *container.Config) string { return cmp.Or(c.StopSignal, "SIGTERM") }

// ParseSignal reads a signal's number or name: "9", "KILL", "SIGKILL", "RTMIN+3".
func ParseSignal(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > rtMax {
			return 0, refuse("invalid signal: %s", s)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for n, known := range signals {
		if name != "" && name == known {
			return n, nil
		}
	}
	switch name {
	case "CLD":
		return 17, nil
	case "POLL":
		return 29, nil
	case "IOT":
		return 6, nil
	}
	base, sign := 0, 1
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if ok {
		base = rtMin
	} else if rest, ok = strings.CutPrefix(name, "RTMAX"); ok {
		base = rtMax
	}
	if ok && rest == "" {
		return base, nil
	}
	if ok && (rest[0] == '+' || rest[0] == '-') {
		if rest[0] == '-' {
			sign = -1
		}
		if d, err := strconv.Atoi(rest[1:]); err == nil && d >= 0 && d <= rtMax {
			if n := base + sign*d; n >= rtMin && n <= rtMax {
				return n, nil
			}
		}
	}
	return 0, refuse("invalid signal: %s", s)
}

// EnvValue returns the value of a variable in a list of NAME=VALUE.
func EnvValue(env []string, name string) (string, bool) {
	for _, e := range env {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			return v, true
		}
	}
	return "", false
}
