package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/version"
)

func versionLine() string {
	v := version.Read()
	return fmt.Sprintf("Pier version %s, build %s", v.Number, cmp.Or(v.Commit, "unknown"))
}

// clientVersion has the fields that docker's version templates use.
type clientVersion struct {
	Version, APIVersion, DefaultAPIVersion, GitCommit, GoVersion, Os, Arch, BuildTime, Context string
}

type versions struct {
	Client clientVersion
	Server *system.VersionResponse
}

func newVersion(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the Pier version information", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			server, failure := c.System().Version(ctx)
			this := version.Read()
			v := versions{Client: clientVersion{Version: this.Number, APIVersion: c.Version(), DefaultAPIVersion: client.APIVersion, GitCommit: this.Commit,
				GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, BuildTime: timeText(this.Time), Context: "default"}}
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
			printVersion(a.Out, v)
			return failure
		}),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output: "json" or a Go template`)
	return cmd
}

func printVersion(w io.Writer, v versions) {
	line := func(indent int, key, value string) {
		if value != "" {
			fmt.Fprintf(w, "%*s%-*s%s\n", indent, "", 20-indent, key+":", value)
		}
	}
	fmt.Fprintln(w, "Client: Pier")
	line(1, "Version", v.Client.Version)
	line(1, "API version", v.Client.APIVersion)
	line(1, "Go version", v.Client.GoVersion)
	line(1, "Git commit", v.Client.GitCommit)
	line(1, "Built", v.Client.BuildTime)
	line(1, "OS/Arch", v.Client.Os+"/"+v.Client.Arch)
	if v.Server == nil {
		return
	}
	name := v.Server.Platform.Name
	if name == "" {
		name = "Engine"
	}
	fmt.Fprintf(w, "\nServer: %s\n", name)
	for _, part := range v.Server.Components {
		fmt.Fprintf(w, " %s:\n", part.Name)
		line(2, "Version", part.Version)
		for _, d := range []struct{ key, title string }{{"ApiVersion", "API version"}, {"GoVersion", "Go version"}, {"GitCommit", "Git commit"}, {"BuildTime", "Built"}} {
			value := part.Details[d.key]
			if d.key == "ApiVersion" && value != "" && part.Details["MinAPIVersion"] != "" {
				value += " (minimum version " + part.Details["MinAPIVersion"] + ")"
			}
			if d.key == "BuildTime" {
				value = timeText(value)
			}
			line(2, d.title, value)
		}
		if part.Details["Os"] != "" {
			line(2, "OS/Arch", part.Details["Os"]+"/"+part.Details["Arch"])
		}
	}
}

func timeText(rfc3339 string) string {
	t, err := time.Parse(time.RFC3339Nano, rfc3339)
	if err != nil {
		return rfc3339
	}
	return t.Format(time.ANSIC)
}
