package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/client"
)

func newPause(a *app) *cobra.Command {
	return a.freezing("pause", "Pause all processes within one or more containers", true)
}

func newUnpause(a *app) *cobra.Command {
	return a.freezing("unpause", "Unpause all processes within one or more containers", false)
}

func (a *app) freezing(word, short string, on bool) *cobra.Command {
	return &cobra.Command{
		Use: word + " CONTAINER [CONTAINER...]", Short: short, Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(ref string) error { return c.Containers().Pause(ctx, ref, on) })
		}),
	}
}
