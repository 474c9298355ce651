package request

import (
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"
)

// Endpoint are the flags of `network connect`.
type Endpoint struct {
	c                    Container
	linkLocal, driverOpt []string
	priority             int
}

// Register adds the flags to s.
func (e *Endpoint) Register(s *pflag.FlagSet) {
	s.VarP(Strings(&e.c.networkAliases), "alias", "", "Add network-scoped alias for the container")
	s.StringVar(&e.c.ip, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	s.StringVar(&e.c.ip6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	s.VarP((*words)(&e.c.links), "link", "", "Add link to another container")
	s.VarP(Strings(&e.linkLocal), "link-local-ip", "", "Add a link-local address for the container")
	s.VarP(Strings(&e.driverOpt), "driver-opt", "", "Driver options for the network")
	s.IntVar(&e.priority, "gw-priority", 0, "Highest gw-priority provides the default gateway; accepts positive and negative values")
}

// Request turns the flags into what the API takes.
func (e *Endpoint) Request() (*network.EndpointSettings, error) {
	settings := &network.EndpointSettings{Links: e.c.links, GwPriority: e.priority, DriverOpts: Map(e.driverOpt)}
	if len(settings.DriverOpts) == 0 {
		settings.DriverOpts = nil
	}
	if err := e.c.endpoint(settings); err != nil {
		return nil, err
	}
	return settings, linkLocals(settings, e.linkLocal)
}

// linkLocals adds the addresses of --link-local-ip.
func linkLocals(s *network.EndpointSettings, list []string) error {
	for _, text := range list {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return invalid("invalid IP address in --link-local-ip: %s", strconv.Quote(text))
		}
		if s.IPAMConfig == nil {
			s.IPAMConfig = &network.EndpointIPAMConfig{}
		}
		s.IPAMConfig.LinkLocalIPs = append(s.IPAMConfig.LinkLocalIPs, ip)
	}
	return nil
}
