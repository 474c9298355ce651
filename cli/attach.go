package cli

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"pier/cli/internal/terminal"
	"pier/client"
)

func newAttach(a *app) *cobra.Command {
	var noStdin, sigProxy bool
	var keys string
	cmd := &cobra.Command{
		Use: "attach [OPTIONS] CONTAINER", Short: "Attach local standard input, output, and error streams to a running container", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if _, err := terminal.ParseKeys(keys); err != nil {
				return err
			}
			info, err := c.Containers().Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			switch {
			case !info.State.Running:
				return invalid("You cannot attach to a stopped container, start it first")
			case info.State.Paused:
				return invalid("You cannot attach to a paused container, unpause it first")
			case info.State.Restarting:
				return invalid("You cannot attach to a restarting container, wait until it is running")
			}
			streams := client.AttachOptions{Stdin: !noStdin && info.Config.OpenStdin, Stdout: true, Stderr: true, DetachKeys: keys}
			return a.followContainer(ctx, c, follow{id: info.ID, tty: info.Config.Tty, streams: streams,
				condition: container.WaitConditionNotRunning, sigProxy: sigProxy && !info.Config.Tty})
		}),
	}
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "Do not attach STDIN")
	cmd.Flags().BoolVar(&sigProxy, "sig-proxy", true, "Proxy all received signals to the process")
	cmd.Flags().StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}
