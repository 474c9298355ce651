package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
	"pier/lib/errkind"
)

func newRmi(a *app) *cobra.Command {
	var force, noPrune bool
	cmd := &cobra.Command{
		Use: "rmi [OPTIONS] IMAGE [IMAGE...]", Short: "Remove one or more images", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			failed := false
			for _, ref := range args {
				removed, err := c.Images().Remove(ctx, ref, force, noPrune)
				if errors.Is(err, context.Canceled) {
					return err
				}
				if err != nil {
					a.report(err)
					failed = failed || !force || !errkind.Is(err, errkind.NotFound)
					continue
				}
				for _, r := range removed {
					if r.Deleted != "" {
						a.printf("Deleted: %s\n", r.Deleted)
					} else {
						a.printf("Untagged: %s\n", r.Untagged)
					}
				}
			}
			if failed {
				return &exitError{code: 1}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force removal of the image")
	cmd.Flags().BoolVar(&noPrune, "no-prune", false, "Do not delete untagged parents")
	cmd.Flags().Var(request.Refused("strings"), "platform", "Only one platform of a multi-platform image")
	cmd.Flags().Lookup("platform").Hidden = true
	return cmd
}
