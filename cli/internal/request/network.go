package request

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// ports reads --expose and --publish.
func (f *Container) ports(config *container.Config, host *container.HostConfig) error {
	exposed, bindings := network.PortSet{}, network.PortMap{}
	for _, e := range f.expose {
		low, high, proto, err := parsePorts(e)
		if err != nil {
			return invalid("invalid range format for --expose: %w", err)
		}
		for p := low; p <= high; p++ {
			port, _ := network.PortFrom(uint16(p), proto)
			exposed[port] = struct{}{}
		}
	}
	for _, spec := range f.publish {
		if strings.Contains(spec, "=") {
			return invalid("invalid publish %q: expected [[IP:][HOST_PORT]:]CONTAINER_PORT[/PROTOCOL]", spec)
		}
		list, err := parsePublish(spec)
		if err != nil {
			return err
		}
		for _, b := range list {
			exposed[b.port] = struct{}{}
			bindings[b.port] = append(bindings[b.port], b.binding)
		}
	}
	config.ExposedPorts, host.PortBindings = exposed, bindings
	return nil
}

type published struct {
	port    network.Port
	binding network.PortBinding
}

// parsePublish reads [[IP:][HOST_PORT[-HOST_PORT]]:]PORT[-PORT][/PROTOCOL]. A range of host ports for one container
// port means: any of them.
func parsePublish(spec string) ([]published, error) {
	wrong := func(why string) ([]published, error) { return nil, invalid("invalid publish %q: %s", spec, why) }
	hostPart, containerPart := "", spec
	if i := strings.LastIndex(spec, ":"); i >= 0 {
		hostPart, containerPart = spec[:i], spec[i+1:]
	}
	low, high, proto, err := parsePorts(containerPart)
	if err != nil {
		return wrong(err.Error())
	}
	var ip netip.Addr
	hostPorts := hostPart
	if i := strings.LastIndex(hostPart, ":"); i >= 0 {
		address := strings.Trim(hostPart[:i], "[]")
		hostPorts = hostPart[i+1:]
		if address != "" {
			if ip, err = netip.ParseAddr(address); err != nil {
				return wrong("invalid IP address: " + address)
			}
		}
	}
	hostLow, hostHigh := 0, 0
	if hostPorts != "" {
		if hostLow, hostHigh, _, err = parsePorts(hostPorts); err != nil {
			return wrong("invalid host port: " + err.Error())
		}
		if hostHigh-hostLow != high-low && low != high {
			return wrong("the ranges of host ports and container ports differ in length")
		}
	}
	var out []published
	for i := 0; low+i <= high; i++ {
		port, _ := network.PortFrom(uint16(low+i), proto)
		b := network.PortBinding{HostIP: ip}
		switch {
		case hostPorts == "":
		case low == high && hostLow != hostHigh:
			b.HostPort = strconv.Itoa(hostLow) + "-" + strconv.Itoa(hostHigh)
		default:
			b.HostPort = strconv.Itoa(hostLow + i)
		}
		out = append(out, published{port, b})
	}
	return out, nil
}

// parsePorts reads PORT[-PORT][/PROTOCOL].
func parsePorts(s string) (low, high int, proto network.IPProtocol, err error) {
	ports, protocol, given := strings.Cut(s, "/")
	switch proto = network.IPProtocol(strings.ToLower(protocol)); {
	case !given:
		proto = network.TCP
	case proto != network.TCP && proto != network.UDP && proto != network.SCTP:
		return 0, 0, "", invalid("invalid proto: %s", protocol)
	}
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	if low, err = portNumber(from); err != nil {
		return 0, 0, "", err
	}
	if high, err = portNumber(to); err != nil {
		return 0, 0, "", err
	}
	if high < low {
		return 0, 0, "", invalid("invalid port range: %s", ports)
	}
	return low, high, proto, nil
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s == "" {
		return 0, invalid("invalid port: %q", s)
	}
	return int(n), nil
}

// extraHosts reads --add-host: NAME:ADDRESS, or NAME=ADDRESS, which leaves no doubt where an IPv6 address begins. The API
// knows the first form alone.
func extraHosts(entries []string) ([]string, error) {
	var out []string
	for _, entry := range entries {
		name, address, ok := strings.Cut(entry, "=")
		if !ok {
			name, address, ok = strings.Cut(entry, ":")
		}
		if !ok || name == "" || address == "" {
			return nil, invalid("bad format for add-host: %q: expected host:ip", entry)
		}
		if strings.HasPrefix(address, "[") && strings.HasSuffix(address, "]") {
			address = address[1 : len(address)-1]
		}
		out = append(out, name+":"+address)
	}
	return out, nil
}

// network reads --network and what belongs to it.
func (f *Container) network(host *container.HostConfig, config *network.NetworkingConfig) error {
	for _, s := range f.dns {
		ip, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return invalid("%s is not an ip address", s)
		}
		host.DNS = append(host.DNS, ip)
	}
	hosts, err := extraHosts(f.addHosts)
	if err != nil {
		return err
	}
	host.ExtraHosts = hosts
	names := f.networks
	if len(names) == 0 {
		names = []string{"default"}
	}
	endpoints := map[string]*network.EndpointSettings{}
	for i, n := range names {
		name, settings, err := parseNetwork(n)
		if err != nil {
			return err
		}
		if i == 0 {
			host.NetworkMode = container.NetworkMode(name)
			if err := f.endpoint(settings); err != nil {
				return err
			}
			if err := linkLocals(settings, f.seldom.linkLocal); err != nil {
				return err
			}
		}
		if _, twice := endpoints[name]; twice {
			return invalid("network %q is specified multiple times", name)
		}
		endpoints[name] = settings
	}
	mode := host.NetworkMode
	own := f.ip != "" || f.ip6 != "" || len(f.networkAliases) > 0 || len(f.seldom.linkLocal) > 0
	if own && (mode.IsHost() || mode.IsNone() || mode.IsContainer()) {
		return invalid("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	if mode.IsContainer() && (len(f.publish) > 0 || f.publishAll) {
		return invalid("conflicting options: port publishing and the container type network mode")
	}
	if len(f.networks) > 0 || own || f.mac != "" {
		config.EndpointsConfig = endpoints
	}
	return nil
}

func (f *Container) endpoint(s *network.EndpointSettings) error {
	s.Aliases = append(s.Aliases, f.networkAliases...)
	if f.ip != "" || f.ip6 != "" {
		s.IPAMConfig = &network.EndpointIPAMConfig{}
		for flag, value := range map[string]string{"ip": f.ip, "ip6": f.ip6} {
			if value == "" {
				continue
			}
			ip, err := netip.ParseAddr(value)
			if err != nil || ip.Is4() != (flag == "ip") {
				return invalid("invalid argument %q for --%s: not an address of that kind", value, flag)
			}
			if flag == "ip" {
				s.IPAMConfig.IPv4Address = ip
			} else {
				s.IPAMConfig.IPv6Address = ip
			}
		}
	}
	if f.mac != "" {
		mac, err := net.ParseMAC(f.mac)
		if err != nil {
			return invalid("%s is not a valid mac address", f.mac)
		}
		s.MacAddress = network.HardwareAddr(mac)
	}
	return nil
}

// parseNetwork reads a name, or name=NAME,alias=A,ip=IP,mac-address=MAC.
func parseNetwork(s string) (string, *network.EndpointSettings, error) {
	settings := &network.EndpointSettings{}
	if !strings.Contains(s, "=") {
		return s, settings, nil
	}
	var name string
	var f Container
	for _, field := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok || value == "" {
			return "", nil, invalid("invalid field %s in --network %q", field, s)
		}
		switch strings.ToLower(key) {
		case "name":
			name = value
		case "alias":
			f.networkAliases = append(f.networkAliases, value)
		case "ip":
			f.ip = value
		case "ip6":
			f.ip6 = value
		case "mac-address":
			f.mac = value
		case "link-local-ip":
			f.seldom.linkLocal = append(f.seldom.linkLocal, value)
		case "gw-priority":
			if settings.GwPriority, ok = priority(value); !ok {
				return "", nil, invalid("invalid gw-priority %q in --network %q: want a number", value, s)
			}
		default:
			return "", nil, invalid("invalid field key %s in --network %q: use name, alias, ip, ip6, link-local-ip, mac-address or gw-priority", key, s)
		}
	}
	if name == "" {
		return "", nil, invalid("--network %q names no network", s)
	}
	if err := f.endpoint(settings); err != nil {
		return "", nil, err
	}
	return name, settings, linkLocals(settings, f.seldom.linkLocal)
}

func priority(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}
