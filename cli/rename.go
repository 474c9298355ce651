package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"pier/client"
)

func newRename(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rename CONTAINER NEW_NAME", Short: "Rename a container", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			old, name := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if old == "" || name == "" {
				return invalid("Error: Neither old nor new names may be empty")
			}
			if err := c.Containers().Rename(ctx, old, name); err != nil {
				a.report(err)
				return invalid("Error: failed to rename container named %s", old)
			}
			return nil
		}),
	}
}
