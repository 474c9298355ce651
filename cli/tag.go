package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"pier/client"
)

func newTag(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			repo, tag := splitTag(args[1])
			return c.Images().Tag(ctx, args[0], repo, tag)
		}),
	}
}

// splitTag cuts name[:tag]; a port's colon is not a tag's.
func splitTag(name string) (repo, tag string) {
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		return name[:i], name[i+1:]
	}
	return name, ""
}
