package cli

import (
	"context"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/cli/internal/copying"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newCp(a *app) *cobra.Command {
	cp := &copying.Copier{In: a.In, Out: a.Out, Warn: a.warnf}
	var quiet bool
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tpier cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH\n\tpier cp [OPTIONS] CONTAINER:SRC_PATH CONTAINER:DEST_PATH",
		Short: "Copy files/folders between a container and the local filesystem, or between containers", Args: exactArgs(2),
		Example: "  pier cp web:/etc/nginx .           the folder, into this one\n  pier cp ./site/. web:/srv          what is in the folder\n" +
			"  pier cp web:/var/log - | tar t     as a tar stream",
	}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		_, shown := terminal.Of(a.Out)
		quiet = quiet || !cmd.Flags().Changed("quiet") && !shown
		cp.Files = c.Files()
		cp.Done = func(bytes int64, to string) {
			if !quiet {
				a.warnf("Successfully copied %s to %s", units.HumanSizeWithPrecision(float64(bytes), 3), to)
			}
		}
		return cp.Copy(ctx, args[0], args[1])
	})
	f := cmd.Flags()
	f.BoolVarP(&cp.Archive, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	f.BoolVarP(&cp.Follow, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	f.BoolVarP(&quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return cmd
}
