package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
)

func newUpdate(a *app) *cobra.Command {
	var limits request.Limits
	cmd := &cobra.Command{
		Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Short: "Update configuration of one or more containers", Args: minArgs(1),
		Example: "  pier update --memory 512m --memory-swap 1g --restart unless-stopped web\n" +
			"  pier update --publish-add 8443:443 --publish-rm 8080:80 web   ports, while it runs",
	}
	limits.Register(cmd.Flags())
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return invalid("you must provide one or more flags when using this command")
		}
		u, err := limits.Request()
		if err != nil {
			return &exitError{code: 125, err: err}
		}
		return a.each(args, func(ref string) error {
			warnings, err := c.Resources().Update(ctx, ref, u)
			for _, w := range warnings {
				a.warnf("%s", w)
			}
			return err
		})
	})
	return cmd
}
