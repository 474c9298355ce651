package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pier/cli/internal/report"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/version"
)

func newInfo(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "info [OPTIONS]", Short: "Display system-wide information", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			info, err := c.System().Info(ctx)
			if err != nil {
				return err
			}
			if format != "" {
				if format == "json" {
					format = "{{json .}}"
				}
				t, err := table.Parse(format)
				if err != nil {
					return err
				}
				return table.Execute(a.Out, t, info)
			}
			a.printf("Client: Pier\n Version:    %s\n Host:       %s\n\nServer:\n", version.Number, c.Host())
			report.Info(a.Out, info)
			for _, w := range info.Warnings {
				a.warnf("%s", w)
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output: "json" or a Go template`)
	return cmd
}
