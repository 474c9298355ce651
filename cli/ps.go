package cli

import (
	"context"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newPs(a *app) *cobra.Command {
	var all, latest, noTrunc, quiet, size bool
	var last int
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use: "ps [OPTIONS]", Short: "List containers", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			if latest && last <= 0 {
				last = 1
			}
			// A list of thousands is read, printed and forgotten: collecting garbage in between costs a tenth and more.
			debug.SetGCPercent(800)
			list, err := c.Containers().List(ctx, client.ListOptions{All: all, Size: size || strings.Contains(format, ".Size") || strings.Contains(format, "{{json .}}"), Limit: max(last, 0), Filters: conditions})
			if err != nil {
				return err
			}
			columns := "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
			if size {
				columns += "\t{{.Size}}"
			}
			if quiet {
				if format != "" && format != "table" {
					a.warnf("WARNING: Ignoring custom format, because both --format and --quiet are set.")
				}
				format = "{{.ID}}"
			}
			rows := make([]row.Container, len(list))
			for i := range list {
				rows[i] = row.ContainerOf(&list[i], !noTrunc)
			}
			return table.Render(a.Out, format, columns, row.ContainerHead(), rows)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "Show all containers (default shows just running)")
	f.BoolVarP(&latest, "latest", "l", false, "Show the latest created container (includes all states)")
	f.IntVarP(&last, "last", "n", -1, "Show n last created containers (includes all states)")
	f.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&quiet, "quiet", "q", false, "Only display container IDs")
	f.BoolVarP(&size, "size", "s", false, "Display total file sizes")
	f.StringVar(&format, "format", "", formatHelp)
	f.VarP(request.ListOf("filter", &filters), "filter", "f", "Filter output based on conditions provided")
	return cmd
}

const formatHelp = `Format output: "table", "table TEMPLATE", "json", or a Go template`
