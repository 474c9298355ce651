package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newLogs(a *app) *cobra.Command {
	var o client.LogsOptions
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] CONTAINER", Short: "Fetch the logs of a container", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			var err error
			now := time.Now()
			if o.Since, err = request.Moment(o.Since, now); err != nil {
				return fmt.Errorf(`invalid value for "since": %w`, err)
			}
			if o.Until, err = request.Moment(o.Until, now); err != nil {
				return fmt.Errorf(`invalid value for "until": %w`, err)
			}
			info, err := c.Containers().Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			body, err := c.Streams().Logs(ctx, info.ID, o)
			if err != nil {
				return err
			}
			defer body.Close()
			if info.Config.Tty {
				_, err = io.Copy(a.Out, body)
			} else {
				err = terminal.CopyFrames(a.Out, a.Err, body)
			}
			return err
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "Follow log output")
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show timestamps")
	f.BoolVar(&o.Details, "details", false, "Show extra details provided to logs")
	f.StringVar(&o.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVar(&o.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	return cmd
}
