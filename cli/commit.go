package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
)

func newCommit(a *app) *cobra.Command {
	o := client.CommitOptions{}
	cmd := &cobra.Command{
		Use: "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Short: "Create a new image from a container's changes", Args: rangeArgs(1, 2),
		Example: "  pier commit -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -m 'new page' web site:2",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 2 {
				o.Reference = args[1]
			}
			id, err := c.Files().Commit(ctx, args[0], o)
			if err != nil {
				return err
			}
			a.printf("%s\n", id)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.Author, "author", "a", "", "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")")
	f.VarP(request.List(&o.Changes), "change", "c", "Apply Dockerfile instruction to the created image")
	f.StringVarP(&o.Comment, "message", "m", "", "Commit message")
	f.BoolVarP(&o.Pause, "pause", "p", true, "Pause container during commit")
	return cmd
}
