package cli

import (
	"context"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/client"
)

func newBuilderGroup(a *app) *cobra.Command {
	var keep string
	prune := a.pruning("builder prune", "Remove build cache", "all dangling build cache", func(ctx context.Context, c *client.Client, filters client.Filters, all bool) (pruned, error) {
		bytes, err := units.RAMInBytes(keep)
		if keep != "" && err != nil {
			return pruned{}, invalid("invalid argument %q for --keep-storage: %w", keep, err)
		}
		return pruneCache(ctx, c, filters, all, max(bytes, 0))
	})
	prune.Flags().BoolP("all", "a", false, "Remove all unused build cache, not just dangling ones")
	prune.Flags().StringVar(&keep, "keep-storage", "", "Amount of disk space to keep for cache")
	return group("builder", "Manage builds", newBuild(a), prune)
}

func pruneCache(ctx context.Context, c *client.Client, filters client.Filters, all bool, keep int64) (pruned, error) {
	r, err := c.Images().PruneBuilds(ctx, filters, all, keep)
	return pruned{title: "Deleted build cache objects", names: r.CachesDeleted, reclaimed: r.SpaceReclaimed, counted: true}, err
}
