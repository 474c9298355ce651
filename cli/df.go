package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/cli/internal/table"
	"pier/client"
)

func newDf(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show disk usage", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			usage, err := c.System().DiskUsage(ctx)
			if err != nil {
				return err
			}
			var rows []dfRow
			add := func(kind string, total, active, size, reclaimable int64) {
				r := dfRow{Type: kind, TotalCount: strconv.FormatInt(total, 10), Active: strconv.FormatInt(active, 10),
					Size: units.HumanSize(float64(size)), Reclaimable: units.HumanSize(float64(reclaimable))}
				if size > 0 {
					r.Reclaimable += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
				}
				rows = append(rows, r)
			}
			if u := usage.ImageUsage; u != nil {
				add("Images", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
			}
			if u := usage.ContainerUsage; u != nil {
				add("Containers", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
			}
			if u := usage.VolumeUsage; u != nil {
				add("Local Volumes", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
			}
			if u := usage.BuildCacheUsage; u != nil {
				add("Build Cache", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
			}
			head := dfRow{Type: "TYPE", TotalCount: "TOTAL", Active: "ACTIVE", Size: "SIZE", Reclaimable: "RECLAIMABLE"}
			return table.Render(a.Out, format, "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", head, rows)
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	return cmd
}

type dfRow struct{ Type, TotalCount, Active, Size, Reclaimable string }
