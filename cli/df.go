package cli

import (
	"context"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newDf(a *app) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show disk usage", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			usage, err := c.System().DiskUsage(ctx, verbose)
			if err != nil {
				return err
			}
			if verbose {
				return a.objectUsage(&usage, format)
			}
			return table.Render(a.Out, format, "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", row.SpaceHead(), row.SpaceOf(&usage))
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	return cmd
}

// objectUsage is `df -v`: every single thing that takes space.
func (a *app) objectUsage(usage *system.DiskUsage, format string) error {
	all := row.ObjectsOf(usage)
	if format != "" && format != "table" {
		return table.Render(a.Out, strings.TrimPrefix(format, "table "), "", all, []row.Objects{all})
	}
	a.printf("Images space usage:\n\n")
	if err := table.Render(a.Out, "", "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}", row.ImageHead(), all.Images); err != nil {
		return err
	}
	a.printf("\nContainers space usage:\n\n")
	if err := table.Render(a.Out, "", "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}", row.ContainerHead(), all.Containers); err != nil {
		return err
	}
	a.printf("\nLocal Volumes space usage:\n\n")
	if err := table.Render(a.Out, "", "{{.Name}}\t{{.Links}}\t{{.Size}}", row.VolumeHead(), all.Volumes); err != nil {
		return err
	}
	a.printf("\nBuild cache usage: %s\n\n", units.HumanSize(float64(all.Cached)))
	return table.Render(a.Out, "", "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}", row.CacheHead(), all.BuildCache)
}
