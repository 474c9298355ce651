package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
)

func newTag(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			repo, tag := request.SplitTag(args[1])
			return c.Images().Tag(ctx, args[0], repo, tag)
		}),
	}
}
