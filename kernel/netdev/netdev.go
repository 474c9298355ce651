// Package netdev moves network devices from this process's network namespace into another one, with their addresses.
//
//	home                        thread in the other namespace
//	----                        -----------------------------
//	read index and addresses
//	RTM_NEWLINK: other namespace and name
//	                            find it: the one that is new there
//	                            RTM_NEWADDR for each address, RTM_NEWLINK up
//
// It speaks netlink itself, in few messages, because the program that starts containers should stay small; kernel/link is
// for those who build networks.
//
// Start reading at Move.
package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// maxName is the longest name of a device (IFNAMSIZ without its zero).
const maxName = 15

// CheckName refuses what cannot be a device's name; with template, one "%d" stands for a number that the kernel chooses.
func CheckName(name string, template bool) error {
	plain := name
	if template {
		plain = strings.Replace(plain, "%d", "0", 1)
	}
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) }
	if plain == "" || len(name) > maxName || plain == "." || plain == ".." || strings.IndexFunc(plain, bad) >= 0 {
		return errkind.New(errkind.Invalid, "network device name %q: want 1 to %d letters without /, : and %%", name, maxName)
	}
	return nil
}

// address is one to be carried along: the family, the length of its prefix, and what the kernel said about it.
type address struct {
	family, prefix byte
	attrs          []byte
}

// Move moves the device name into the namespace ns, under the name as (empty: the same), with its permanent addresses of
// global scope, and brings it up. A device that does not exist is errkind.NotFound, a name that is taken in ns
// errkind.Conflict. After a later error the device is in ns. Needs CAP_NET_ADMIN in both namespaces.
func Move(name string, ns *os.File, as string) error {
	if as == "" {
		as = name
	}
	if err := errors.Join(CheckName(name, false), CheckName(as, true)); err != nil {
		return err
	}
	device, err := net.InterfaceByName(name)
	if err != nil {
		return errkind.New(errkind.NotFound, "network device %s: %w", name, err)
	}
	addresses, err := addressesOf(device.Index)
	if err != nil {
		return fmt.Errorf("addresses of network device %s: %w", name, err)
	}
	return inside(ns, func() error {
		before, err := net.Interfaces()
		if err != nil {
			return fmt.Errorf("network devices of the namespace: %w", err)
		}
		// The kernel moves first and fails to rename then.
		if slices.ContainsFunc(before, func(d net.Interface) bool { return d.Name == as }) {
			return errkind.New(errkind.Conflict, "move network device %s: the namespace has a %s already", name, as)
		}
		if err := leave(device.Index, name, ns, as); err != nil {
			return err
		}
		return settle(before, as, addresses)
	})
}

// settle gives the device that is not among before its addresses, and brings it up.
func settle(before []net.Interface, as string, addresses []address) error {
	now, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("network devices of the namespace: %w", err)
	}
	i := slices.IndexFunc(now, func(d net.Interface) bool {
		return !slices.ContainsFunc(before, func(b net.Interface) bool { return b.Index == d.Index })
	})
	if i < 0 {
		return errkind.New(errkind.Conflict, "network device %s is not where it was moved to", as)
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, a := range addresses {
		message := append([]byte{a.family, a.prefix, unix.IFA_F_PERMANENT, unix.RT_SCOPE_UNIVERSE}, number(uint32(now[i].Index))...)
		if err := request(s, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, append(message, a.attrs...)); err != nil {
			return fmt.Errorf("address of network device %s: %w", as, err)
		}
	}
	if err := request(s, unix.RTM_NEWLINK, 0, linkMessage(now[i].Index, unix.IFF_UP)); err != nil {
		return fmt.Errorf("bring network device %s up: %w", as, err)
	}
	return nil
}

// leave sends a device of home on its way.
func leave(index int, name string, ns *os.File, as string) error {
	// The message goes from home, which this thread has left. Any other thread is there.
	done := make(chan error, 1)
	go func() { done <- send(index, name, ns, as) }()
	return <-done
}

func send(index int, name string, ns *os.File, as string) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer unix.Close(s)
	raw, err := ns.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		message := linkMessage(index, 0)
		message = append(message, attribute(unix.IFLA_NET_NS_FD, number(uint32(fd)))...)
		message = append(message, attribute(unix.IFLA_IFNAME, append([]byte(as), 0))...)
		failed = request(s, unix.RTM_NEWLINK, 0, message)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("move network device %s: %w", name, err)
	}
	return nil
}

// linkMessage is struct ifinfomsg.
func linkMessage(index int, flags uint32) []byte {
	m := append(make([]byte, 4, 64), number(uint32(index))...)
	return append(append(m, number(flags)...), number(flags)...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	a = append(binary.NativeEndian.AppendUint16(a, kind), value...)
	return append(a, make([]byte, -len(a)&3)...)
}

// addressesOf reads what a move would lose.
func addressesOf(index int) ([]address, error) {
	table, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return nil, err
	}
	var out []address
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg || int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		a := address{family: m.Data[0], prefix: m.Data[1]}
		flags, scope := uint32(m.Data[2]), m.Data[3]
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, err
		}
		for _, attr := range attrs {
			switch attr.Attr.Type {
			case unix.IFA_FLAGS:
				if len(attr.Value) == 4 {
					flags = binary.NativeEndian.Uint32(attr.Value)
				}
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST:
				a.attrs = append(a.attrs, attribute(attr.Attr.Type, attr.Value)...)
			}
		}
		if flags&unix.IFA_F_PERMANENT == 0 || scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		const carried = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_PERMANENT
		a.attrs = append(a.attrs, attribute(unix.IFA_FLAGS, number(flags&carried))...)
		out = append(out, a)
	}
	return out, nil
}

func open() (int, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("netlink socket", err)
	}
	return s, nil
}

// request sends one message and waits for the kernel's word on it.
func request(s int, kind, flags uint16, body []byte) error {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	m = append(append(m, make([]byte, 8)...), body...)
	if err := unix.Sendto(s, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("send to netlink", err)
	}
	buf := make([]byte, 8<<10)
	for {
		n, _, err := unix.Recvfrom(s, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("receive from netlink", err)
		}
		answers, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		for _, a := range answers {
			if a.Header.Type != unix.NLMSG_ERROR || len(a.Data) < 4 {
				continue
			}
			if errno := -int32(binary.NativeEndian.Uint32(a.Data)); errno != 0 {
				return syscall.Errno(errno)
			}
			return nil
		}
	}
}

// inside runs f on a thread in the network namespace ns, which ends afterwards. The process's first thread never does.
func inside(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		if unix.Gettid() == unix.Getpid() {
			done <- inside(ns, f)
			runtime.UnlockOSThread()
			return
		}
		raw, err := ns.SyscallConn()
		if err == nil {
			var failed error
			err = raw.Control(func(fd uintptr) { failed = unix.Setns(int(fd), unix.CLONE_NEWNET) })
			err = errors.Join(err, failed)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
