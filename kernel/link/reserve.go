package link

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve takes a TCP, UDP or SCTP port of home (kind "tcp", "udp", "sctp") so that no other program gets it, until
// the result is closed. Traffic to the port is meant to be translated before it reaches a socket; what does reach this
// one is dropped in silence, so that a client tries again rather than meet a closed port while rules are rewritten.
// Conflict where the port is taken, Invalid where the host has no such address. SCTP ports are not reserved: the
// result is then nil.
func (m *Manager) Reserve(kind string, at netip.AddrPort) (f *os.File, err error) {
	if kind == "sctp" {
		return nil, nil
	}
	err = m.run(nil, func(*thread) error {
		f, err = reserve(kind, at)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reserve %s port %s: %w", kind, at, err)
	}
	return f, nil
}

func reserve(kind string, at netip.AddrPort) (*os.File, error) {
	domain, addr := sockaddr(at)
	fd, err := socket(kind, domain)
	if err != nil {
		return nil, classify(err)
	}
	f := os.NewFile(uintptr(fd), "port "+at.String())
	if err := occupy(fd, kind, domain, addr); err != nil {
		_ = f.Close()
		return nil, classify(err)
	}
	return f, nil
}

func occupy(fd int, kind string, domain int, addr unix.Sockaddr) error {
	if domain == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	// A filter of one instruction, "accept 0 bytes".
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]}); err != nil {
		return err
	}
	if kind != "tcp" {
		return unix.Bind(fd, addr)
	}
	// Connections of a former owner that linger in TIME_WAIT must not count; a socket that listens, and only such a
	// one, then still excludes others that set the same option.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, addr); err != nil {
		return err
	}
	return unix.Listen(fd, 1)
}
