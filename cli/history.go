package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/id"
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
			rows := make([]historyRow, len(items))
			for i, item := range items {
				r := historyRow{ID: item.ID, CreatedBy: strings.ReplaceAll(item.CreatedBy, "\t", " "), Comment: item.Comment,
					CreatedAt: time.Unix(item.Created, 0).Format(time.RFC3339), CreatedSince: table.Ago(item.Created), Size: table.Size(item.Size)}
				if !human {
					r.CreatedSince, r.Size = r.CreatedAt, strconv.FormatInt(item.Size, 10)
				}
				if !noTrunc {
					r.ID, r.CreatedBy = id.Short(r.ID), table.Ellipsis(r.CreatedBy, 45)
				}
				rows[i] = r
			}
			head := historyRow{ID: "IMAGE", CreatedSince: "CREATED", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", Size: "SIZE", Comment: "COMMENT"}
			return table.Render(a.Out, format, "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", head, rows)
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

type historyRow struct{ ID, CreatedSince, CreatedAt, CreatedBy, Size, Comment string }
