package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"pier/client"
)

func newExport(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER", Short: "Export a container's filesystem as a tar archive", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.output(output, func() (io.ReadCloser, error) { return c.Files().Export(ctx, args[0]) })
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return cmd
}
