package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/client"
)

func newStop(a *app) *cobra.Command {
	return a.stopping("stop", "Stop one or more running containers", func(c client.Containers, ctx context.Context, ref, signal string, timeout *int) error {
		unheard, err := c.Stop(ctx, ref, signal, timeout)
		if unheard != "" {
			a.warnf("%s: its first process does not handle %s: killed at once (--init, or a handler, lets it end by itself)", ref, unheard)
		}
		return err
	})
}

func newRestart(a *app) *cobra.Command {
	return a.stopping("restart", "Restart one or more containers", client.Containers.Restart)
}

func (a *app) stopping(word, short string, do func(c client.Containers, ctx context.Context, ref, signal string, timeout *int) error) *cobra.Command {
	var signal string
	var seconds, time int
	cmd := &cobra.Command{
		Use: word + " [OPTIONS] CONTAINER [CONTAINER...]", Short: short, Args: minArgs(1),
	}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		var timeout *int
		switch {
		case cmd.Flags().Changed("time") && cmd.Flags().Changed("timeout"):
			return invalid("conflicting options: cannot specify both --timeout and --time")
		case cmd.Flags().Changed("timeout"):
			timeout = &seconds
		case cmd.Flags().Changed("time"):
			timeout = &time
		}
		return a.each(args, func(ref string) error { return do(c.Containers(), ctx, ref, signal, timeout) })
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	cmd.Flags().IntVarP(&seconds, "timeout", "t", 0, "Seconds to wait before killing the container (-1: never)")
	cmd.Flags().IntVar(&time, "time", 0, "Seconds to wait before killing the container")
	cmd.Flags().Lookup("time").Hidden = true
	return cmd
}
