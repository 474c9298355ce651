package report

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/moby/moby/api/types/system"

	"pier/lib/version"
)

// Client is what there is to say of this program. It has the fields that docker's version templates use.
type Client struct {
	Version, APIVersion, DefaultAPIVersion, GitCommit, GoVersion, Os, Arch, BuildTime, Context string
}

// Versions is what `version` prints.
type Versions struct {
	Client Client
	Server *system.VersionResponse // nil: it does not answer
}

// ThisClient describes this program, which speaks the API version api, and at the most newest.
func ThisClient(api, newest string) Client {
	this := version.Read()
	return Client{Version: this.Number, APIVersion: api, DefaultAPIVersion: newest, GitCommit: this.Commit, GoVersion: runtime.Version(),
		Os: runtime.GOOS, Arch: runtime.GOARCH, BuildTime: timeText(this.Time), Context: "default"}
}

// Version prints versions, a part below the other.
func Version(w io.Writer, v Versions) {
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
