package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oasdiff/yaml"

	"pier/api/docker"
)

var update = flag.Bool("update", false, "write docs/api.md anew from testdata/support.txt and the description of the API")

// How a parameter or a field of a body is supported.
const (
	supported = "yes"     // it does what the description says
	refused   = "refused" // the request fails, and the answer names it
	accepted  = "kept"    // taken, and without effect for a reason that the note tells
	lacking   = "lacking" // "!name": a field of the answer that is never there, for the reason given
)

// said is what testdata/support.txt says of one parameter ("?name") or field of a body.
type said struct {
	name  string
	how   string
	proof string // a body, or arguments, that show it; "" where other tests do
	note  string
}

// declared reads testdata/support.txt: operations, and below each its parameters and fields.
func declared(t *testing.T) (order []string, table map[string][]said) {
	t.Helper()
	data, err := os.ReadFile("testdata/support.txt")
	if err != nil {
		t.Fatal(err)
	}
	table = map[string][]said{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] != ' ':
			order = append(order, line)
			table[line] = nil
			continue
		}
		line, note, _ := strings.Cut(line, " -- ")
		f := strings.Fields(line)
		if len(f) == 1 && f[0][0] == '!' {
			f = append(f, lacking)
		}
		if len(order) == 0 || len(f) < 2 {
			t.Fatalf("support.txt: %q", line)
		}
		s := said{name: f[0], how: f[1], proof: strings.Join(f[2:], " "), note: note}
		if !slices.Contains([]string{supported, refused, accepted, lacking}, s.how) || (s.how == accepted || s.how == lacking) && note == "" {
			t.Errorf("support.txt: %s %s: %q wants a reason", order[len(order)-1], s.name, s.how)
		}
		op := order[len(order)-1]
		table[op] = append(table[op], s)
	}
	return order, table
}

// era is the versions of the API that have a field: minor numbers.
type era struct{ first, last int }

// undescribed are parameters and fields that Docker has for experiments: its client and its types know them, its descriptions do not.
var undescribed = map[string][]string{
	"GET /containers/{id}/checkpoints":                 {"", "?dir"},
	"POST /containers/{id}/checkpoints":                {"", "CheckpointID", "CheckpointDir", "Exit"},
	"DELETE /containers/{id}/checkpoints/{checkpoint}": {"", "?dir"},
	"POST /containers/{id}/start":                      {"?checkpoint", "?checkpoint-dir"},
}

// described maps operations to their parameters and fields in all versions that pierd speaks.
var described = sync.OnceValues(func() (map[string]map[string]era, error) {
	dir, err := moduleDir()
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]era{}
	for minor := docker.MinVersion.Minor; minor <= docker.MaxVersion.Minor; minor++ {
		text, err := os.ReadFile(filepath.Join(dir, "docs", fmt.Sprintf("v1.%d.yaml", minor)))
		if err != nil {
			return nil, err
		}
		var d description
		if _, err := yaml.Unmarshal(text, &d, yaml.DecodeOpts{}); err != nil {
			return nil, fmt.Errorf("description of 1.%d: %w", minor, err)
		}
		for path, methods := range d.Paths {
			for method, o := range methods {
				op := strings.ToUpper(method) + " " + path
				if out[op] == nil {
					out[op] = map[string]era{}
				}
				fields := []string{""} // the operation itself
				for _, p := range o.Parameters {
					switch p.In {
					case "query":
						fields = append(fields, "?"+p.Name)
					case "body":
						fields = append(fields, d.fields(p.Schema, "", nil)...)
					}
				}
				for _, status := range []string{"200", "201"} {
					if r, ok := o.Responses[status]; ok && minor == docker.MaxVersion.Minor {
						for _, f := range d.fields(r.Schema, "", nil) {
							fields = append(fields, "!"+f)
						}
					}
				}
				fields = append(fields, undescribed[op]...)
				for _, f := range fields {
					e, known := out[op][f]
					if !known {
						e.first = minor
					}
					e.last = minor
					out[op][f] = e
				}
			}
		}
	}
	for op, fields := range undescribed {
		if out[op] == nil {
			out[op] = map[string]era{}
			for _, f := range fields {
				out[op][f] = era{docker.MinVersion.Minor, docker.MaxVersion.Minor}
			}
		}
	}
	return out, nil
})

// description is as much of a description of the API (Swagger 2.0) as the table needs.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct {
			In, Name string
			Schema   *schema
		}
		Responses map[string]struct{ Schema *schema }
	}
	Definitions map[string]*schema
}

type schema struct {
	Ref        string `json:"$ref"`
	AllOf      []*schema
	Properties map[string]*schema
	Items      *schema
	// AdditionalProperties is a schema, or a boolean that says no more than that there may be some.
	AdditionalProperties json.RawMessage
}

// fields lists the fields of s and of what is in them: "a", "a.b", "list[].b", "map{}.b".
func (d *description) fields(s *schema, at string, within []string) []string {
	if s == nil {
		return nil
	}
	if s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/definitions/")
		if slices.Contains(within, name) {
			return nil
		}
		return d.fields(d.Definitions[name], at, append(slices.Clone(within), name))
	}
	var out []string
	for _, part := range s.AllOf {
		out = append(out, d.fields(part, at, within)...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		out = append(out, at+name)
		out = append(out, d.fields(s.Properties[name], at+name+".", within)...)
	}
	out = append(out, d.fields(s.Items, strings.TrimSuffix(at, ".")+"[].", within)...)
	if at != "" {
		var values schema
		if len(s.AdditionalProperties) > 0 && json.Unmarshal(s.AdditionalProperties, &values) == nil {
			out = append(out, d.fields(&values, strings.TrimSuffix(at, ".")+"{}.", within)...)
		}
	}
	return out
}

// detailed are the operations that the table goes through field by field.
var detailed = regexp.MustCompile(`^[A-Z]+ /(containers/|exec/|events$|commit$|system/df$)`)

// TestSupportTable holds that testdata/support.txt speaks of every parameter and field that any version of the API has,
// and of no other, and that docs/api.md says the same.
func TestSupportTable(t *testing.T) {
	order, table := declared(t)
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for op, fields := range all {
		if !detailed.MatchString(op) {
			continue
		}
		if _, ok := table[op]; !ok {
			t.Errorf("support.txt says nothing of %s", op)
		}
		for name := range fields {
			if name != "" && name[0] != '!' && !slices.ContainsFunc(table[op], func(s said) bool { return s.name == name }) {
				t.Errorf("support.txt says nothing of %s: %s", op, name)
			}
		}
	}
	for op, list := range table {
		seen := map[string]bool{}
		for _, s := range list {
			if _, ok := all[op][s.name]; !ok || seen[s.name] {
				t.Errorf("support.txt speaks of %s: %s, which no version has, or twice", op, s.name)
			}
			seen[s.name] = true
		}
	}
	page := render(order, table, all)
	path := filepath.Join("..", "..", "docs", "api.md")
	if *update {
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, page) {
		t.Errorf("docs/api.md is stale (%v): go test ./test/api -run TestSupportTable -update", err)
	}
}

// render writes docs/api.md.
func render(order []string, table map[string][]said, all map[string]map[string]era) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# What of the Docker Engine API is there

Made by `+"`go test ./test/api -run TestSupportTable -update`"+` from the published descriptions of API %s to %s and
`+"`test/api/testdata/support.txt`"+`; do not edit. The tests of that folder try what this page says: every field with a sample of its
own, every answer against the description.

- **yes**: it does what the description says.
- **refused**: the request is answered with 400 or 501 and the field's name; nothing is ever left out in silence.
- **kept**: taken, and without effect for the reason given.

Answers have all fields that the newest description gives them, but for those named below.

A field that no version of the API has is passed over, as Docker does, since clients of all kinds send some; create and update name it in
their warnings. A value of a wrong type, out of range or of an unknown word is refused with 400; what several hundred such requests are
answered, beside what Docker 20.10 answers them, is in `+"`test/api/wrongcreate_test.go` and `test/api/wrongtable_test.go`"+`.
`, docker.MinVersion, docker.MaxVersion)
	for _, op := range order {
		fmt.Fprintf(&b, "\n## %s\n\n", op)
		if e := all[op][""]; e.first > docker.MinVersion.Minor {
			fmt.Fprintf(&b, "Since 1.%d. ", e.first)
		}
		var arguments, answer []said
		for _, s := range table[op] {
			if s.how == lacking {
				answer = append(answer, s)
			} else {
				arguments = append(arguments, s)
			}
		}
		// The arguments of the query first.
		slices.SortStableFunc(arguments, func(a, b said) int { return strings.Index(b.name, "?") - strings.Index(a.name, "?") })
		for _, s := range answer {
			fmt.Fprintf(&b, "The answer has no `%s`: %s.\n", strings.TrimPrefix(s.name, "!"), s.note)
		}
		if len(answer) > 0 {
			b.WriteString("\n")
		}
		if len(arguments) == 0 {
			b.WriteString("It takes no arguments.\n")
			continue
		}
		b.WriteString("| argument or field | versions | supported | |\n|---|---|---|---|\n")
		for _, s := range arguments {
			e, versions := all[op][s.name], ""
			if e.first > docker.MinVersion.Minor {
				versions = fmt.Sprintf("since 1.%d", e.first)
			}
			if e.last < docker.MaxVersion.Minor {
				versions = strings.TrimSpace(versions + fmt.Sprintf(" until 1.%d", e.last))
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, versions, s.how, s.note)
		}
	}
	b.WriteString("\n## All other operations\n\n| operation | served |\n|---|---|\n")
	for _, op := range slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		_, p, _ := strings.Cut(a, " ")
		_, q, _ := strings.Cut(b, " ")
		return strings.Compare(p+a, q+b)
	}) {
		if !detailed.MatchString(op) {
			fmt.Fprintf(&b, "| `%s` | %s |\n", op, served(op))
		}
	}
	fmt.Fprintf(&b, additions, docker.SecretsDir, docker.MaxSecretSize>>10, docker.MaxSecrets, docker.MaxSecretsAll>>20, docker.SecretMode,
		docker.AdditionsHeader, docker.AddedArchive, docker.AddedProbes, docker.AddedPublish, docker.AddedSecrets)
	return b.Bytes()
}

// additions are what Pier has beyond the descriptions, for Fprintf. Other servers pass it over, and so do other clients.
const additions = `
## What Pier adds

| where | what |
|---|---|
| ` + "`GET /_ping`" + ` | the header ` + "`%[6]s`" + ` lists, with spaces between them, the additions that a client asks for before it relies on them, for a server that does not know one passes it over: ` + "`%[7]s`, `%[8]s`, `%[9]s` and `%[10]s`" + ` |
| ` + "`POST /containers/create`, `HostConfig.PierSecrets[]`" + ` | a file that the container's processes alone see: ` + "`Target`" + ` (a path, or a name in ` + "`%[1]s`), `Content`" + ` (base64; at most %[2]d KiB, %[3]d files and %[4]d MiB a container), ` + "`UID`, `GID`" + ` (those of the container's user), ` + "`Mode`" + ` (%[5]d, which is %#[5]o). See [security.md](security.md#secrets) |
| ` + "`GET /containers/{id}/json`, `HostConfig.PierSecrets[]`" + ` | the same without ` + "`Content`" + `; not there where a container has none |
| ` + "`POST /containers/create`, `HostConfig.RestartPolicy`" + ` | the name ` + "`on-unhealthy`" + `: a container whose health check fails is stopped and started again |
| ` + "`POST /containers/create`, `Healthcheck.Test`" + ` | checks that pierd makes without a process in the container: ` + "`[\"HTTP\", \"http://:8080/healthz\"]`" + ` (or ` + "`https://`" + `, whoever's certificate it is; a status of 200 to 399 is healthy), ` + "`[\"TCP\", \":5432\"]`, `[\"GRPC\", \":50051\", \"service\"]`, `[\"FILE\", \"/run/ready\"]`" + `. A host is left out, ` + "`localhost`" + ` or an address that the container has; an image's check may name ports only. ` + "`ExitCode`" + ` in the health log is 0 or 1, or -1 after the timeout, and ` + "`Output`" + ` what was asked and what came |
| ` + "`POST /containers/create?run=1`, `POST /containers/{id}/exec?run=1`" + ` | make, join, start and wait in one request; ` + "`api/docker/run.go`" + ` describes the stream |
| ` + "`POST /containers/{id}/stop`" + ` | the header ` + "`Pier-Unheard-Signal`" + ` names a stop signal that the process takes no notice of: it was killed at once |
| ` + "`POST /containers/{id}/update`" + `, ` + "`PierPublishAdd`" + ` | bindings as in ` + "`HostConfig.PortBindings`" + ` to publish, at once where the container runs. A port that is taken is 409 with the name of the container that has it, and nothing of the request is done |
| ` + "`POST /containers/{id}/update`" + `, ` + "`PierPublishRemove`" + ` | bindings to end, with the connections through them, before those of ` + "`PierPublishAdd`" + ` come. Without ` + "`HostIp`" + ` or ` + "`HostPort`" + ` it means whatever they are; 409 where there is none |
| ` + "`GET /containers/{id}/archive?glob=1`" + ` | ` + "`path`" + ` is a pattern of a shell, unless something has that name; all that matches is in the archive, each under its own name, and the header ` + "`Pier-Matches`" + ` says how much it is. With ` + "`followLinks=1`" + ` a match that is a symbolic link stands for what it leads to, or for itself where that is nothing |
| ` + "`PUT /containers/{id}/archive?chown=`" + `, ` + "`chmod=`" + ` | who gets everything, ` + "`user[:group]`" + ` by the container's own files, where a number alone that has no entry is in group 0 (not with ` + "`copyUIDGID`" + `); the mode of everything, octal or in words, as of ` + "`COPY --chmod`" + ` |
`

// served tells of the operations that are not gone through field by field. TestServed tries it.
func served(op string) string {
	switch {
	case slices.Contains(notServed, op):
		return "no: 501 with the operation's name"
	case swarmOnly.MatchString(op):
		return "no: 503, this is no swarm manager"
	}
	return "yes"
}

// notServed are the operations that pierd answers with 501.
var notServed = []string{
	"DELETE /plugins/{name}", "GET /distribution/{name}/json", "GET /images/search", "GET /images/{name}/attestations",
	"GET /plugins/privileges", "GET /plugins/{name}/json", "POST /images/{name}/push", "POST /plugins/create",
	"POST /plugins/pull", "POST /plugins/{name}/disable", "POST /plugins/{name}/enable", "POST /plugins/{name}/push",
	"POST /plugins/{name}/set", "POST /plugins/{name}/upgrade", "POST /session", "POST /swarm/init", "POST /swarm/join",
	"PUT /volumes/{name}",
}

var swarmOnly = regexp.MustCompile(`^[A-Z]+ /(swarm$|swarm/(leave|update|unlock|unlockkey)|nodes|services|tasks|secrets|configs)`)
