package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/client"
)

// newDialStdio is the far end of a client's ssh:// host.
func newDialStdio(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "Connect standard input and output with the daemon", Args: noArgs, Hidden: true,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error { return c.Tunnel(ctx, a.In, a.Out) }),
	}
}
