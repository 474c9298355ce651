package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/table"
	"pier/client"
)

func newDiff(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "diff [OPTIONS] CONTAINER", Short: "Inspect changes to files or directories on a container's filesystem", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			changes, err := c.Files().Changes(ctx, args[0])
			if err != nil {
				return err
			}
			rows := make([]diffRow, len(changes))
			for i, change := range changes {
				rows[i] = diffRow{change.Kind.String(), change.Path}
			}
			if format == "" {
				format = "{{.Type}} {{.Path}}"
			}
			return table.Render(a.Out, format, "{{.Type}}\t{{.Path}}", diffRow{"CHANGE TYPE", "PATH"}, rows)
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	return cmd
}

type diffRow struct{ Type, Path string }
