package table

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// A container that does not run has no addresses: they are empty and count as false, as in docker's JSON.
func TestAddresses(t *testing.T) {
	inspect := func(raw string) []Object {
		return []Object{{Raw: json.RawMessage(raw), Type: &container.InspectResponse{}}}
	}
	stopped := inspect(`{"Name":"/c","NetworkSettings":{"Networks":{"n":{"IPAddress":"","Gateway":"","IPPrefixLen":0}}}}`)
	runs := inspect(`{"Name":"/c","NetworkSettings":{"Networks":{"n":{"IPAddress":"10.0.0.2","Gateway":"10.0.0.1","IPPrefixLen":24}}}}`)
	for _, test := range []struct{ format, stopped, runs string }{
		{"<{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}>", "<>", "<10.0.0.2>"},
		{"<{{.NetworkSettings.Networks.n.Gateway}}>", "<>", "<10.0.0.1>"},
		{`{{with .NetworkSettings.Networks.n}}{{if .IPAddress}}{{.IPAddress}}{{else}}none{{end}}{{end}}`, "none", "10.0.0.2"},
		{`{{$a := .NetworkSettings.Networks.n.IPAddress}}{{if eq $a ""}}none{{else}}{{printf "%s/%d" $a 8}}{{end}}`, "none", "10.0.0.2/8"},
		{`{{printf "%s|" .NetworkSettings.Networks.n.IPAddress}}`, "|", "10.0.0.2|"},
		{`{{define "ip"}}{{.IPAddress}}{{end}}{{template "ip" .NetworkSettings.Networks.n}}!`, "!", "10.0.0.2!"},
		{`{{json .NetworkSettings.Networks.n.IPAddress}}`, `""`, `"10.0.0.2"`},
		{`{{.NetworkSettings.Networks.n.IPPrefixLen}} {{.Name}}`, "0 /c", "24 /c"},
	} {
		for want, objects := range map[string][]Object{test.stopped: stopped, test.runs: runs} {
			var out strings.Builder
			if err := Objects(&out, test.format, objects); err != nil || out.String() != want+"\n" {
				t.Errorf("%s: %q, %v, want %q", test.format, out.String(), err, want)
			}
		}
	}
	var out strings.Builder
	raw := `{"IPAM":{"Config":[{"Subnet":"10.0.0.0/24"}]}}`
	err := Objects(&out, "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}}{{.Gateway}}.{{end}}", []Object{{Raw: json.RawMessage(raw), Type: &network.Inspect{}}})
	if err != nil || out.String() != "10.0.0.0/24 .\n" {
		t.Errorf("network: %q, %v", out.String(), err)
	}
}
