package cli

import (
	"context"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"pier/cli/internal/terminal"
	"pier/client"
)

func newStart(a *app) *cobra.Command {
	var attach, interactive bool
	var keys, from, dir string
	cmd := &cobra.Command{
		Use: "start [OPTIONS] CONTAINER [CONTAINER...]", Short: "Start one or more stopped containers", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			where, err := checkpointDir(dir)
			switch {
			case err != nil:
				return err
			case dir != "" && from == "":
				return invalid("--checkpoint-dir says where a checkpoint lies: name it with --checkpoint")
			case from != "" && len(args) > 1:
				return invalid("you cannot restore multiple containers at once")
			case from != "" && !attach && !interactive:
				return c.Checkpoints().Start(ctx, args[0], where, from)
			}
			if !attach && !interactive {
				var failed []string
				err := a.each(args, func(ref string) error {
					err := c.Containers().Start(ctx, ref)
					if err != nil {
						failed = append(failed, ref)
					}
					return err
				})
				if len(failed) > 0 {
					a.warnf("Error: failed to start containers: %s", strings.Join(failed, ", "))
				}
				return err
			}
			if _, err := terminal.ParseKeys(keys); err != nil {
				return err
			}
			if len(args) > 1 {
				return invalid("you cannot start and attach multiple containers at once")
			}
			info, err := c.Containers().Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			condition := container.WaitConditionNextExit
			if info.HostConfig.AutoRemove {
				condition = container.WaitConditionRemoved
			}
			streams := client.AttachOptions{Stdin: interactive && info.Config.OpenStdin, Stdout: true, Stderr: true, DetachKeys: keys}
			return a.followContainer(ctx, c, follow{id: info.ID, tty: info.Config.Tty, streams: streams, condition: condition, sigProxy: true, start: true,
				checkpoint: from, checkpointDir: where})
		}),
	}
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "Attach container's STDIN")
	cmd.Flags().StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	cmd.Flags().StringVar(&from, "checkpoint", "", "Restore from this checkpoint")
	cmd.Flags().StringVar(&dir, "checkpoint-dir", "", checkpointDirHelp)
	return cmd
}
