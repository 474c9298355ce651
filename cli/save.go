package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/atomicfile"
)

func newSave(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "save [OPTIONS] IMAGE [IMAGE...]", Short: "Save one or more images to a tar archive (streamed to STDOUT by default)", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.output(output, func() (io.ReadCloser, error) { return c.Images().Save(ctx, args) })
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	cmd.Flags().Var(request.Refused("string"), "platform", "Only one platform of a multi-platform image")
	cmd.Flags().Lookup("platform").Hidden = true
	return cmd
}

// output writes what open yields to a file, or to standard output where path is empty and that is no terminal.
func (a *app) output(path string, open func() (io.ReadCloser, error)) error {
	if _, shown := terminal.Of(a.Out); path == "" && shown {
		return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
	}
	body, err := open()
	if err != nil {
		return err
	}
	defer body.Close()
	if path == "" {
		_, err = io.Copy(a.Out, body)
		return err
	}
	return atomicfile.CopyVolatile(path, body, 0o600)
}
