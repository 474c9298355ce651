package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pier/cli/internal/live"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newTop(a *app) *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use: "top [OPTIONS] [CONTAINER] [ps OPTIONS]", Short: "Display the running processes of a container",
		Example: "  pier top                      all containers, live: arrows and enter look into one, q ends it\n" +
			"  pier top --live web           the processes of one, live\n  pier top web -o pid,pcpu,args",
	}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		if _, isTerminal := terminal.Of(a.Out); isTerminal && a.env("TERM") != "dumb" && len(args) < 2 && (show || len(args) == 0) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			v, err := live.NewTop(ctx, c, strings.Join(args, ""), a.colours())
			if err != nil {
				return err
			}
			return a.show(ctx, v, nil)
		}
		if show {
			return invalid("--live shows at most one container, in columns of its own, on a terminal")
		}
		if err := minArgs(1)(cmd, args); err != nil {
			return err
		}
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
	})
	cmd.Flags().BoolVar(&show, "live", false, "Show the processes of a container again every second")
	cmd.Flags().SetInterspersed(false)
	return cmd
}
