package cli

import (
	"context"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/cli/internal/pruning"
	"pier/client"
)

func newBuilderGroup(a *app) *cobra.Command {
	var keep string
	prune := a.pruning("builder prune", "Remove build cache", "all dangling build cache", func(ctx context.Context, c *client.Client, filters client.Filters, all bool) (pruning.Removed, error) {
		bytes, err := units.RAMInBytes(keep)
		if keep != "" && err != nil {
			return pruning.Removed{}, invalid("invalid argument %q for --keep-storage: %w", keep, err)
		}
		return pruning.Cache(max(bytes, 0))(ctx, c, filters, all)
	})
	prune.Flags().BoolP("all", "a", false, "Remove all unused build cache, not just dangling ones")
	prune.Flags().StringVar(&keep, "keep-storage", "", "Amount of disk space to keep for cache")
	return group("builder", "Manage builds", newBuild(a), prune)
}
