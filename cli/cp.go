package cli

import (
	"context"
	"errors"

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
		Use:   "cp [OPTIONS] CONTAINER:SRC_PATH... DEST_PATH|-\n\tpier cp [OPTIONS] SRC_PATH...|- CONTAINER:DEST_PATH\n\tpier cp [OPTIONS] CONTAINER:SRC_PATH... CONTAINER:DEST_PATH",
		Short: "Copy files/folders between a container and the local filesystem, or between containers", Args: cpArgs,
		Example: "  pier cp web:/etc/nginx .           the folder, into this one\n  pier cp ./site/. web:/srv          what is in the folder\n" +
			"  pier cp a.conf b.conf web:/etc     several, into a folder\n  pier cp 'web:/var/log/*.log' .     all that match in the container\n" +
			"  pier cp --chown app:app key web:/  an owner by the names of the container\n  pier cp web:/data db:/data         from container to container\n" +
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
		sources, destination := args[:len(args)-1], args[len(args)-1]
		if err := cp.Check(ctx, sources, destination); err != nil {
			return err
		}
		if len(sources) == 1 {
			return cp.Copy(ctx, sources[0], destination)
		}
		failed := false
		for _, source := range sources { // one that cannot be copied does not keep the others
			err := cp.Copy(ctx, source, destination)
			if errors.Is(err, context.Canceled) {
				return err
			}
			if err != nil {
				a.report(err)
				failed = true
			}
		}
		if failed {
			return &exitError{code: 1}
		}
		return nil
	})
	f := cmd.Flags()
	f.BoolVarP(&cp.Archive, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	f.BoolVarP(&cp.Follow, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	f.StringVar(&cp.Owner, "chown", "", "Owner of what is put into the container (USER[:GROUP], by name or number of the container's own; a number that has no entry there is in group 0)")
	f.StringVar(&cp.Mode, "chmod", "", "Mode of what is put into the container (octal, or as in u=rwX,go=rX)")
	f.BoolVarP(&quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return cmd
}

// cpArgs words too few arguments as docker does, which takes two and no more.
func cpArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return exactArgs(2)(cmd, args)
	}
	return nil
}
