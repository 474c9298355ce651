package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"pier/cli/internal/pruning"
	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/errkind"
)

func newNetworkGroup(a *app) *cobra.Command {
	ls := newNetworkLs(a)
	ls.Aliases = []string{"list"}
	rm := newNetworkRm(a)
	rm.Aliases = []string{"remove"}
	return group("network", "Manage networks", newNetworkConnect(a), newNetworkCreate(a), newNetworkDisconnect(a), newInspectOf(a, "network"), ls,
		a.pruning("network prune", "Remove all unused networks", "all custom networks not used by at least one container", pruning.Networks), rm)
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
	var ipv4, ipv6 bool
	var configFrom string
	var pool request.Addresses
	var labels, options []string
	cmd := &cobra.Command{Use: "create [OPTIONS] NETWORK", Short: "Create a network", Args: exactArgs(1)}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		var err error
		r.Name, r.Labels, r.Options = args[0], request.Map(labels), request.Map(options)
		if r.IPAM, err = pool.IPAM(); err != nil {
			return err
		}
		if configFrom != "" {
			r.ConfigFrom = &network.ConfigReference{Network: configFrom}
		}
		if cmd.Flags().Changed("ipv4") {
			r.EnableIPv4 = &ipv4
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
	f.BoolVar(&ipv4, "ipv4", true, "Enable or disable IPv4 address assignment")
	f.BoolVar(&r.ConfigOnly, "config-only", false, "Create a configuration only network")
	f.StringVar(&configFrom, "config-from", "", "The network from which to copy the configuration")
	f.BoolVar(&r.Ingress, "ingress", false, "Create swarm routing-mesh network")
	f.StringVar(&r.Scope, "scope", "", "Control the network's scope")
	pool.Register(f)
	f.VarP(request.List(&labels), "label", "", "Set metadata on a network")
	f.VarP(request.ListOf("map", &options), "opt", "o", "Set driver specific options")
	return cmd
}

func newNetworkRm(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm NETWORK [NETWORK...]", Short: "Remove one or more networks", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(ref string) error {
				err := c.Networks().Remove(ctx, ref)
				if force && errkind.Is(err, errkind.NotFound) {
					return errQuiet{}
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not error if the network does not exist")
	return cmd
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
