package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pier/client"
)

func newTop(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "top CONTAINER [ps OPTIONS]", Short: "Display the running processes of a container", Args: minArgs(1), ValidArgsFunction: a.completeContainers(false),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			top, err := c.Containers().Top(ctx, args[0], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.Out, 20, 1, 3, ' ', 0)
			fmt.Fprintln(w, strings.Join(top.Titles, "\t"))
			for _, process := range top.Processes {
				fmt.Fprintln(w, strings.Join(process, "\t"))
			}
			return w.Flush()
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
