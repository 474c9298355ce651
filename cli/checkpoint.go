package cli

import (
	"context"
	"path/filepath"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/spf13/cobra"

	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
)

func newCheckpointGroup(a *app) *cobra.Command {
	var dir string
	custom := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&dir, "checkpoint-dir", "", checkpointDirHelp)
		return cmd
	}
	var running bool
	create := custom(&cobra.Command{
		Use: "create [OPTIONS] CONTAINER CHECKPOINT", Short: "Create a checkpoint from a running container", Args: exactArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			where, err := checkpointDir(dir)
			if err != nil {
				return err
			}
			err = c.Checkpoints().Create(ctx, args[0], checkpoint.CreateRequest{CheckpointID: args[1], CheckpointDir: where, Exit: !running})
			if err == nil {
				a.printf("%s\n", args[1])
			}
			return err
		}),
	})
	create.Flags().BoolVar(&running, "leave-running", false, "Leave the container running after checkpoint")
	var format string
	ls := custom(&cobra.Command{
		Use: "ls [OPTIONS] CONTAINER", Short: "List checkpoints for a container", Args: exactArgs(1), Aliases: []string{"list"},
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			where, err := checkpointDir(dir)
			if err != nil {
				return err
			}
			list, err := c.Checkpoints().List(ctx, args[0], where)
			if err != nil {
				return err
			}
			rows := make([]row.Checkpoint, len(list))
			for i, one := range list {
				rows[i].Name = one.Name
			}
			return table.Render(a.Out, format, "{{.Name}}", row.CheckpointHead(), rows)
		}),
	})
	ls.Flags().StringVar(&format, "format", "", formatHelp)
	rm := custom(&cobra.Command{
		Use: "rm [OPTIONS] CONTAINER CHECKPOINT", Short: "Remove a checkpoint", Args: exactArgs(2), Aliases: []string{"remove"},
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			where, err := checkpointDir(dir)
			if err != nil {
				return err
			}
			return c.Checkpoints().Remove(ctx, args[0], where, args[1])
		}),
	})
	return group("checkpoint", "Manage checkpoints", create, ls, rm)
}

const checkpointDirHelp = "Use a custom checkpoint storage directory"

// checkpointDir is the folder as the daemon wants it, which has another working directory.
func checkpointDir(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	return filepath.Abs(dir)
}
