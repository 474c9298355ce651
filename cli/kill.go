package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/client"
)

func newKill(a *app) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill [OPTIONS] CONTAINER [CONTAINER...]", Short: "Kill one or more running containers", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(ref string) error { return c.Containers().Kill(ctx, ref, signal) })
		}),
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return cmd
}
