package table

import (
	"encoding/json"
	"strings"
	"testing"
)

type row struct{ ID, Name string }

func TestRender(t *testing.T) {
	rows := []row{{"1", "a-long-name"}, {"22", "b"}}
	for format, want := range map[string]string{
		"":                         "ID        NAME\n1         a-long-name\n22        b\n",
		"table":                    "ID        NAME\n1         a-long-name\n22        b\n",
		`table {{.Name}}\t{{.ID}}`: "NAME          ID\na-long-name   1\nb             22\n",
		"{{.ID}}={{upper .Name}}":  "1=A-LONG-NAME\n22=B\n",
		`table {{lower .Name}}\t{{truncate .ID 1}} {{join (split .Name "-") "+"}}`: "NAME          ID NAME\na-long-name   1 a+long+name\nb             2 b\n",
		"json":                           `{"ID":"1","Name":"a-long-name"}` + "\n" + `{"ID":"22","Name":"b"}` + "\n",
		`{{join (split .Name "-") "+"}}`: "a+long+name\nb\n",
		`{{truncate .Name 3}}|{{pad .ID 1 2}}|{{title .Name}}|{{json .ID}}`: "a-l| 1  |A-long-name|\"1\"\nb| 22  |B|\"22\"\n",
	} {
		var out strings.Builder
		if err := Render(&out, format, "{{.ID}}\t{{.Name}}", row{"ID", "NAME"}, rows); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v, want %q", format, out.String(), err, want)
		}
	}
	for _, format := range []string{"{{", "{{.Nosuch}}"} {
		if err := Render(new(strings.Builder), format, "", row{}, rows); err == nil || !strings.Contains(err.Error(), "template parsing error") {
			t.Errorf("%q: %v", format, err)
		}
	}
}

func TestObjects(t *testing.T) {
	objects := func() []Object {
		return []Object{{Raw: json.RawMessage(`{"Id":"x","Name":"n","Size":12345678901}`), Type: &row{}}, {Raw: json.RawMessage(`{"Id":"y","Size":2}`)}}
	}
	for format, want := range map[string]string{
		"":          "[\n    {\n        \"Id\": \"x\",\n        \"Name\": \"n\",\n        \"Size\": 12345678901\n    },\n    {\n        \"Id\": \"y\",\n        \"Size\": 2\n    }\n]\n",
		"{{.Id}}":   "x\ny\n",
		"{{.Size}}": "12345678901\n2\n",
		"json":      `[{"Id":"x","Name":"n","Size":12345678901},{"Id":"y","Size":2}]` + "\n",
	} {
		var out strings.Builder
		if err := Objects(&out, format, objects()); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v, want %q", format, out.String(), err, want)
		}
	}
	var out strings.Builder
	if err := Objects(&out, "", nil); err != nil || out.String() != "[]\n" {
		t.Errorf("nothing: %q, %v", out.String(), err)
	}
	if err := Objects(&out, "{{.Nosuch}}", objects()); err == nil {
		t.Error("a missing key is no error")
	}
	if got := Ellipsis("abcdef", 4); got != "abc…" {
		t.Errorf("Ellipsis: %s", got)
	}
	if Size(1500) != "1.5kB" || Ago(0) != "N/A" {
		t.Error("words of sizes and times")
	}
}
