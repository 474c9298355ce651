package request

import (
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"
)

// Addresses are the flags of `network create` that say which addresses a network has.
type Addresses struct {
	subnets, gateways, ranges, aux, options []string
	driver                                  string
}

// Register adds the flags to s.
func (a *Addresses) Register(s *pflag.FlagSet) {
	s.Var(Strings(&a.subnets), "subnet", "Subnet in CIDR format that represents a network segment")
	s.Var(Strings(&a.gateways), "gateway", "IPv4 or IPv6 Gateway for the master subnet")
	s.Var(Strings(&a.ranges), "ip-range", "Allocate container ip from a sub-range")
	s.Var(ListOf("map", &a.aux), "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	s.StringVar(&a.driver, "ipam-driver", "default", "IP Address Management Driver")
	s.Var(ListOf("map", &a.options), "ipam-opt", "Set IPAM driver specific options")
}

// IPAM puts every gateway, range and auxiliary address to the subnet that it lies in.
func (a *Addresses) IPAM() (*network.IPAM, error) {
	ipam := &network.IPAM{Driver: a.driver}
	if len(a.options) > 0 {
		ipam.Options = Map(a.options)
	}
	for _, s := range a.subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, invalid("invalid subnet %s: %w", s, err)
		}
		ipam.Config = append(ipam.Config, network.IPAMConfig{Subnet: p.Masked()})
	}
	within := func(what, text string, ip netip.Addr, use func(*network.IPAMConfig)) error {
		for i := range ipam.Config {
			if ipam.Config[i].Subnet.Contains(ip) {
				use(&ipam.Config[i])
				return nil
			}
		}
		return invalid("no matching subnet for %s %s", what, text)
	}
	for _, s := range a.gateways {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, invalid("invalid gateway %s: %w", s, err)
		}
		if err := within("gateway", s, ip, func(c *network.IPAMConfig) { c.Gateway = ip }); err != nil {
			return nil, err
		}
	}
	for _, s := range a.ranges {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, invalid("invalid range %s: %w", s, err)
		}
		if err := within("range", s, p.Addr(), func(c *network.IPAMConfig) { c.IPRange = p.Masked() }); err != nil {
			return nil, err
		}
	}
	for _, s := range a.aux {
		name, text, _ := strings.Cut(s, "=")
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, invalid("invalid aux-address %s: want NAME=IP: %w", s, err)
		}
		add := func(c *network.IPAMConfig) {
			if c.AuxAddress == nil {
				c.AuxAddress = map[string]netip.Addr{}
			}
			c.AuxAddress[name] = ip
		}
		if err := within("aux-address", text, ip, add); err != nil {
			return nil, err
		}
	}
	return ipam, nil
}
