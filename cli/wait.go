package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"pier/client"
)

func newWait(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "wait CONTAINER [CONTAINER...]", Short: "Block until one or more containers stop, then print their exit codes", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			failed := false
			for _, ref := range args {
				code, err := waitFor(ctx, c, ref)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					a.report(err)
					failed = true
					continue
				}
				a.printf("%d\n", code)
			}
			if failed {
				return &exitError{code: 1}
			}
			return nil
		}),
	}
}

func waitFor(ctx context.Context, c *client.Client, ref string) (int64, error) {
	result, err := c.Streams().Wait(ctx, ref, "")
	if err != nil {
		return 0, err
	}
	r, err := result()
	if err == nil && r.Error != nil {
		err = errors.New(r.Error.Message)
	}
	return r.StatusCode, err
}
