package network

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxResolverFile bounds what is read of a file like /etc/resolv.conf, in bytes.
const maxResolverFile = 1 << 20

// systemdResolvConf lists the real name servers where /etc/resolv.conf names only systemd's local stub.
const systemdResolvConf = "/run/systemd/resolve/resolv.conf"

// resolver is what a resolv.conf says.
type resolver struct {
	servers         []netip.Addr
	search, options []string
}

func parseResolver(data []byte) (r resolver) {
	s := bufio.NewScanner(bytes.NewReader(data))
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		line, _, _ = strings.Cut(line, ";")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.servers = append(r.servers, a.Unmap())
			}
		case "search", "domain":
			r.search = words[1:]
		case "options":
			r.options = append(r.options, words[1:]...)
		}
	}
	return r
}

func readResolver(path string) (resolver, error) {
	f, err := os.Open(path)
	if err != nil {
		return resolver{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxResolverFile))
	return parseResolver(data), err
}

// hostResolver is the host's configuration, with the daemon's own servers in place of its if there are any. A missing
// file is an empty one.
func (s *state) hostResolver() resolver {
	r, err := readResolver(s.resolvConf)
	if err != nil && !os.IsNotExist(err) {
		s.log.Warn("network: cannot read the host's resolver configuration", "error", err)
	}
	if len(s.dns) > 0 {
		r.servers = s.dns
	} else if len(r.servers) == 1 && r.servers[0] == netip.AddrFrom4([4]byte{127, 0, 0, 53}) {
		if real, err := readResolver(systemdResolvConf); err == nil && len(real.servers) > 0 {
			r.servers = real.servers
		}
	}
	return r
}

// containerResolver is what a container's resolv.conf says. embedded means that the name service answers at 127.0.0.11
// inside; else gateway is where it would answer if the host has none but servers on its own loopback (invalid: nowhere).
func containerResolver(host resolver, o *JoinOptions, embedded bool, gateway netip.Addr, v6 bool) resolver {
	r := resolver{search: host.search, options: host.options}
	if len(o.DNSSearch) > 0 {
		r.search = slices.DeleteFunc(slices.Clone(o.DNSSearch), func(s string) bool { return s == "." })
	}
	if len(o.DNSOptions) > 0 {
		r.options = o.DNSOptions
	}
	switch {
	case embedded:
		r.servers = []netip.Addr{embeddedDNS}
		if !slices.ContainsFunc(r.options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
			r.options = append(slices.Clone(r.options), "ndots:0")
		}
		return r
	case len(o.DNS) > 0:
		r.servers = o.DNS
		return r
	}
	for _, a := range host.servers {
		if !a.IsLoopback() && (a.Is4() || v6 && a.Zone() == "") {
			r.servers = append(r.servers, a)
		}
	}
	if len(r.servers) == 0 && gateway.IsValid() {
		r.servers = []netip.Addr{gateway}
	}
	return r
}

// text is the content of a resolv.conf file. Words with line breaks in them are dropped.
func (r resolver) text() []byte {
	var b bytes.Buffer
	b.WriteString("# Written by Pier when the container was started.\n")
	for _, a := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	for _, line := range []struct {
		key   string
		words []string
	}{{"search", r.search}, {"options", r.options}} {
		words := slices.DeleteFunc(slices.Clone(line.words), func(w string) bool { return w == "" || strings.ContainsAny(w, "\n\r\x00") })
		if len(words) > 0 {
			fmt.Fprintf(&b, "%s %s\n", line.key, strings.Join(words, " "))
		}
	}
	return b.Bytes()
}

// hostsFile is the content of a container's /etc/hosts: localhost, the extra lines, and the container's own addresses.
func hostsFile(o *JoinOptions, own []netip.Addr, gateway netip.Addr) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	extraHosts(&b, o.ExtraHosts, gateway)
	b.Write(nameLines(o, own))
	return b.Bytes()
}

// nameLines are the lines of /etc/hosts for a container's own addresses.
func nameLines(o *JoinOptions, own []netip.Addr) []byte {
	var b bytes.Buffer
	names := o.Hostname
	if o.Domainname != "" && o.Hostname != "" {
		names = o.Hostname + "." + o.Domainname + " " + o.Hostname
	} else if short, _, qualified := strings.Cut(o.Hostname, "."); qualified && short != "" {
		names += " " + short // a host name with its domain in it
	}
	if names != "" && !strings.ContainsAny(names, "\n\r\x00") {
		for _, a := range own {
			fmt.Fprintf(&b, "%s\t%s\n", a, names)
		}
	}
	return b.Bytes()
}

// ownLines are those of one endpoint.
func ownLines(o *JoinOptions, e *endpoint) []byte {
	var own []netip.Addr
	for _, a := range []netip.Addr{e.settings.IPAddress, e.settings.GlobalIPv6Address} {
		if a.IsValid() {
			own = append(own, a)
		}
	}
	return nameLines(o, own)
}

func extraHosts(b *bytes.Buffer, lines []string, gateway netip.Addr) {
	for _, line := range lines {
		name, address, ok := strings.Cut(line, ":")
		if !ok {
			name, address, ok = strings.Cut(line, "=")
		}
		address = strings.Trim(address, "[]")
		if address == "host-gateway" && gateway.IsValid() {
			address = gateway.String()
		}
		a, err := netip.ParseAddr(address)
		if !ok || err != nil || name == "" || strings.ContainsAny(name, " \t\n\r\x00#") {
			continue // refused when the container was created
		}
		fmt.Fprintf(b, "%s\t%s\n", a, name)
	}
}

// extraLines are the lines of extraHosts for a container in mode "host", whose gateway is the host itself.
func extraLines(o *JoinOptions) []byte {
	var b bytes.Buffer
	extraHosts(&b, o.ExtraHosts, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	return b.Bytes()
}
