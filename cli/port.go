package cli

import (
	"context"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"pier/client"
)

func newPort(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Short: "List port mappings or a specific mapping for the container", Args: rangeArgs(1, 2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			info, err := c.Containers().Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				port, err := network.ParsePort(args[1])
				if err != nil {
					return invalid("%w", err)
				}
				bindings := info.NetworkSettings.Ports[port]
				if len(bindings) == 0 {
					return invalid("Error: No public port '%s' published for %s", args[1], args[0])
				}
				for _, b := range bindings {
					a.printf("%s\n", net.JoinHostPort(b.HostIP.String(), b.HostPort))
				}
				return nil
			}
			var lines []string
			for port, bindings := range info.NetworkSettings.Ports {
				for _, b := range bindings {
					lines = append(lines, port.String()+" -> "+net.JoinHostPort(b.HostIP.String(), b.HostPort))
				}
			}
			slices.Sort(lines)
			for _, l := range lines {
				a.printf("%s\n", l)
			}
			return nil
		}),
	}
}
