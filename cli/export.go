package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"pier/cli/internal/terminal"
	"pier/client"
)

func newExport(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER", Short: "Export a container's filesystem as a tar archive", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if _, shown := terminal.Of(a.Out); output == "" && shown {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			body, err := c.Files().Export(ctx, args[0])
			if err != nil {
				return err
			}
			defer body.Close()
			if output == "" {
				_, err = io.Copy(a.Out, body)
				return err
			}
			return writeFile(output, body)
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return cmd
}
