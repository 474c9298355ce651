package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/client"
)

func newRename(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rename CONTAINER NEW_NAME", Short: "Rename a container", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return c.Containers().Rename(ctx, args[0], args[1])
		}),
	}
}
