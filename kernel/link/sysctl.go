package link

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// maxSysctl bounds one value in bytes; the longest of the kernel's own are far shorter.
const maxSysctl = 4096

// openSysctl opens /proc/sys and makes sure that it is the kernel's and nothing mounted over it.
func openSysctl() (*os.File, error) {
	fd, err := unix.Open("/proc/sys", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/sys: %w", err)
	}
	f := os.NewFile(uintptr(fd), "/proc/sys")
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("check /proc/sys: %w", err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		_ = f.Close()
		return nil, errkind.New(errkind.Forbidden, "check /proc/sys: it is not the kernel's proc file system")
	}
	return f, nil
}

// sysctlPath turns a name with dots ("net.ipv4.ip_forward") or slashes into a path below /proc/sys. As with sysctl(8)
// a slash stands for a dot inside a component, if the first separator is a dot, and the other way round.
func sysctlPath(name string) (string, error) {
	sep := strings.IndexAny(name, "./")
	if sep < 0 || len(name) > 255 {
		return "", errkind.New(errkind.Invalid, "sysctl %q: not a name", name)
	}
	path := name
	if name[sep] == '.' {
		path = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, name)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, odd) {
			return "", errkind.New(errkind.Invalid, "sysctl %q: not a name", name)
		}
	}
	if !strings.HasPrefix(path, "net/") {
		return "", errkind.New(errkind.Invalid, "sysctl %q: does not belong to a network namespace", name)
	}
	return path, nil
}

func odd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.@:", r))
}

func (t *thread) openSysctl(name string, flags int) (*os.File, error) {
	path, err := sysctlPath(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat2(int(t.sysctl.Fd()), path, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// set writes a value of the namespace that the thread is in.
func (t *thread) set(name, value string) error {
	if len(value) > maxSysctl || strings.ContainsAny(value, "\x00\n") {
		return errkind.New(errkind.Invalid, "sysctl %s: bad value", name)
	}
	f, err := t.openSysctl(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.Write(int(f.Fd()), []byte(value)); err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

func (t *thread) get(name string) (string, error) {
	f, err := t.openSysctl(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, maxSysctl)
	n, err := unix.Read(int(f.Fd()), b)
	if err != nil {
		return "", fmt.Errorf("sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// SetSysctl writes a network sysctl ("net.ipv4.ip_forward") in ns, or in home if ns is nil, unless it has the value
// already. Invalid for names outside net and for odd characters.
func (m *Manager) SetSysctl(ns *os.File, name, value string) error {
	return m.run(ns, func(t *thread) error {
		if old, err := t.get(name); err == nil && old == value {
			return nil
		}
		return t.set(name, value)
	})
}

// Sysctl reads a network sysctl of ns, or of home if ns is nil.
func (m *Manager) Sysctl(ns *os.File, name string) (value string, err error) {
	err = m.run(ns, func(t *thread) error {
		value, err = t.get(name)
		return err
	})
	return value, err
}
