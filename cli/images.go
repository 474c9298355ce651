package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newImages(a *app) *cobra.Command {
	var all, digests, noTrunc, quiet bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use: "images [OPTIONS] [REPOSITORY[:TAG]]", Short: "List images", Args: rangeArgs(0, 1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				conditions.Add("reference", args[0])
			}
			list, err := c.Images().List(ctx, all, conditions)
			if err != nil {
				return err
			}
			columns := "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
			if digests {
				columns = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
			}
			if quiet && (format == "" || format == "table") {
				format = "{{.ID}}"
			}
			var rows []row.Image
			for i := range list {
				rows = append(rows, row.ImagesOf(&list[i], !noTrunc, quiet)...)
			}
			return table.Render(a.Out, format, columns, row.ImageHead(), rows)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "Show all images (default hides intermediate and dangling images)")
	f.BoolVar(&digests, "digests", false, "Show digests")
	f.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	f.Var(request.Refused("bool"), "tree", "List multi-platform images as a tree")
	f.Lookup("tree").Hidden, f.Lookup("tree").NoOptDefVal = true, "true"
	f.StringVar(&format, "format", "", formatHelp)
	f.VarP(request.ListOf("filter", &filters), "filter", "f", "Filter output based on conditions provided")
	return cmd
}
