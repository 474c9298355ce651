package cli

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newNetworkGroup(a *app) *cobra.Command {
	ls := newNetworkLs(a)
	ls.Aliases = []string{"list"}
	rm := newNetworkRm(a)
	rm.Aliases = []string{"remove"}
	return group("network", "Manage networks", newNetworkConnect(a), newNetworkCreate(a), newNetworkDisconnect(a), newInspectOf(a, "network"), ls,
		a.pruning("network prune", "Remove all unused networks", "all custom networks not used by at least one container", pruneNetworks), rm)
}

func newNetworkLs(a *app) *cobra.Command {
	var noTrunc, quiet bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Short: "List networks", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			list, err := c.Networks().List(ctx, conditions)
			if err != nil {
				return err
			}
			slices.SortFunc(list, func(x, y network.Summary) int { return strings.Compare(x.Name, y.Name) })
			if quiet && format == "" {
				format = "{{.ID}}"
			}
			rows := make([]row.Network, len(list))
			for i := range list {
				rows[i] = row.NetworkOf(&list[i], !noTrunc)
			}
			return table.Render(a.Out, format, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", row.NetworkHead(), rows)
		}),
	}
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "Do not truncate the output")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display network IDs")
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	cmd.Flags().VarP(request.ListOf("filter", &filters), "filter", "f", `Provide filter values (e.g. "driver=bridge")`)
	return cmd
}

func newNetworkCreate(a *app) *cobra.Command {
	var r network.CreateRequest
	var ipv6 bool
	var subnets, gateways, ranges, labels, options []string
	cmd := &cobra.Command{Use: "create [OPTIONS] NETWORK", Short: "Create a network", Args: exactArgs(1)}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		var err error
		r.Name, r.Labels, r.Options = args[0], request.Map(labels), request.Map(options)
		if r.IPAM, err = addressing(subnets, gateways, ranges); err != nil {
			return err
		}
		if cmd.Flags().Changed("ipv6") {
			r.EnableIPv6 = &ipv6
		}
		created, err := c.Networks().Create(ctx, r)
		if err != nil {
			return err
		}
		if created.Warning != "" {
			a.warnf("WARNING: %s", created.Warning)
		}
		a.printf("%s\n", created.ID)
		return nil
	})
	f := cmd.Flags()
	f.StringVarP(&r.Driver, "driver", "d", "bridge", "Driver to manage the Network")
	f.BoolVar(&r.Internal, "internal", false, "Restrict external access to the network")
	f.BoolVar(&r.Attachable, "attachable", false, "Enable manual container attachment")
	f.BoolVar(&ipv6, "ipv6", false, "Enable IPv6 networking")
	f.VarP(request.List(&subnets), "subnet", "", "Subnet in CIDR format that represents a network segment")
	f.VarP(request.List(&gateways), "gateway", "", "IPv4 or IPv6 Gateway for the master subnet")
	f.VarP(request.List(&ranges), "ip-range", "", "Allocate container ip from a sub-range")
	f.VarP(request.List(&labels), "label", "", "Set metadata on a network")
	f.VarP(request.List(&options), "opt", "o", "Set driver specific options")
	return cmd
}

// addressing puts every gateway and range to the subnet that it lies in.
func addressing(subnets, gateways, ranges []string) (*network.IPAM, error) {
	ipam := &network.IPAM{Driver: "default"}
	for _, s := range subnets {
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
	for _, s := range gateways {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, invalid("invalid gateway %s: %w", s, err)
		}
		if err := within("gateway", s, ip, func(c *network.IPAMConfig) { c.Gateway = ip }); err != nil {
			return nil, err
		}
	}
	for _, s := range ranges {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, invalid("invalid range %s: %w", s, err)
		}
		if err := within("range", s, p.Addr(), func(c *network.IPAMConfig) { c.IPRange = p.Masked() }); err != nil {
			return nil, err
		}
	}
	return ipam, nil
}

func newNetworkRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm NETWORK [NETWORK...]", Short: "Remove one or more networks", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(ref string) error { return c.Networks().Remove(ctx, ref) })
		}),
	}
}

func newNetworkConnect(a *app) *cobra.Command {
	var endpoint request.Endpoint
	cmd := &cobra.Command{
		Use: "connect [OPTIONS] NETWORK CONTAINER", Short: "Connect a container to a network", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			settings, err := endpoint.Request()
			if err != nil {
				return err
			}
			return c.Networks().Connect(ctx, args[0], network.ConnectRequest{Container: args[1], EndpointConfig: settings})
		}),
	}
	endpoint.Register(cmd.Flags())
	return cmd
}

func newNetworkDisconnect(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "disconnect [OPTIONS] NETWORK CONTAINER", Short: "Disconnect a container from a network", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return c.Networks().Disconnect(ctx, args[0], network.DisconnectRequest{Container: args[1], Force: force})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the container to disconnect from a network")
	return cmd
}
