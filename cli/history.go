package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newHistory(a *app) *cobra.Command {
	var human, noTrunc, quiet bool
	var format string
	cmd := &cobra.Command{
		Use: "history [OPTIONS] IMAGE", Short: "Show the history of an image", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			items, err := c.Images().History(ctx, args[0])
			if err != nil {
				return err
			}
			if quiet && format == "" {
				format = "{{.ID}}"
			}
			rows := make([]row.History, len(items))
			for i, item := range items {
				rows[i] = row.HistoryOf(item, human, !noTrunc)
			}
			return table.Render(a.Out, format, "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", row.HistoryHead(), rows)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&human, "human", "H", true, "Print sizes and dates in human readable format")
	f.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	f.StringVar(&format, "format", "", formatHelp)
	f.Var(request.Refused("string"), "platform", "Only one platform of a multi-platform image")
	f.Lookup("platform").Hidden = true
	return cmd
}
