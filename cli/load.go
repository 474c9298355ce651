package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newLoad(a *app) *cobra.Command {
	var input string
	var quiet bool
	cmd := &cobra.Command{
		Use: "load [OPTIONS]", Short: "Load an image from a tar archive or STDIN", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			var archive io.Reader = a.In
			if input != "" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer f.Close()
				archive = f
			} else if _, isTerminal := terminal.Of(a.In); isTerminal {
				return errors.New("requested load from stdin, but stdin is empty: name a file with -i, or redirect one")
			}
			body, err := c.Images().Load(ctx, archive, quiet)
			if err != nil {
				return err
			}
			defer body.Close()
			return showProgress(body, a.Out)
		}),
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress the load output")
	cmd.Flags().Var(request.Refused("string"), "platform", "Only one platform of a multi-platform image")
	cmd.Flags().Lookup("platform").Hidden = true
	return cmd
}
