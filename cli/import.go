package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
)

func newImport(a *app) *cobra.Command {
	var o client.ImportOptions
	cmd := &cobra.Command{
		Use: "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", Short: "Import the contents from a tarball to create a filesystem image", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) > 1 {
				o.Reference = args[1]
			}
			var root io.Reader
			switch {
			case args[0] == "-":
				o.Source, root = "-", a.In
			case strings.Contains(args[0], "://"):
				o.Source = args[0]
			default:
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				o.Source, root = "-", f
			}
			body, err := c.Images().Import(ctx, root, o)
			if err != nil {
				return err
			}
			defer body.Close()
			return showProgress(body, a.Out)
		}),
	}
	cmd.Flags().VarP(request.List(&o.Changes), "change", "c", "Apply Dockerfile instruction to the created image")
	cmd.Flags().StringVarP(&o.Message, "message", "m", "", "Set commit message for imported image")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "Set platform if server is multi-platform capable")
	return cmd
}
