package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pier/cli/internal/report"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/version"
)

func versionLine() string {
	v := version.Read()
	return fmt.Sprintf("Pier version %s, build %s", v.Number, cmp.Or(v.Commit, "unknown"))
}

func newVersion(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the Pier version information", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			server, failure := c.System().Version(ctx)
			v := report.Versions{Client: report.ThisClient(c.Version(), client.APIVersion)}
			if failure == nil {
				v.Server = &server
			}
			if format != "" {
				if failure != nil && strings.Contains(format, ".Server") {
					return failure
				}
				if format == "json" {
					format = "{{json .}}"
				}
				t, err := table.Parse(format)
				if err != nil {
					return err
				}
				if err := table.Execute(a.Out, t, v); err != nil {
					return err
				}
				return failure
			}
			report.Version(a.Out, v)
			return failure
		}),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output: "json" or a Go template`)
	return cmd
}
