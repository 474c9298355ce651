package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"pier/cli/internal/report"
	"pier/cli/internal/request"
	"pier/client"
)

func newEvents(a *app) *cobra.Command {
	var since, until, format string
	var filters []string
	cmd := &cobra.Command{
		Use: "events [OPTIONS]", Short: "Get real time events from the server", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			if since, err = request.Moment(since, time.Now()); err != nil {
				return err
			}
			if until, err = request.Moment(until, time.Now()); err != nil {
				return err
			}
			print, err := report.Events(a.Out, format)
			if err != nil {
				return err
			}
			return c.System().Events(ctx, since, until, conditions, print)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "Show all events created since timestamp")
	f.StringVar(&until, "until", "", "Stream events until this timestamp")
	f.StringVar(&format, "format", "", `Format output: "json" or a Go template`)
	f.VarP(request.ListOf("filter", &filters), "filter", "f", "Filter output based on conditions provided")
	return cmd
}
