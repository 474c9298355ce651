package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"pier/client"
	"pier/lib/errkind"
)

func newRm(a *app) *cobra.Command {
	var force, volumes, link bool
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Short: "Remove one or more containers", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(ref string) error {
				if link {
					return c.Containers().RemoveLink(ctx, strings.Trim(ref, "/"))
				}
				err := c.Containers().Remove(ctx, strings.Trim(ref, "/"), force, volumes)
				if force && errkind.Is(err, errkind.NotFound) {
					a.report(err)
					return errQuiet{}
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	cmd.Flags().BoolVarP(&link, "link", "l", false, "Remove the specified link")
	return cmd
}
