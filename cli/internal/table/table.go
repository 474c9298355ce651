package table

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/docker/go-units"

	"pier/lib/errkind"
)

// Render prints rows by format: "table" (the command's own columns), "table TEMPLATE", "json", or a Go template that is
// Executed for each row. head has the same fields as the rows, holding the column titles.
func Render[T any](w io.Writer, format, columns string, head T, rows []T) error {
	if format == "json" {
		format = "{{json .}}"
	}
	table := format == "" || format == "table"
	if table {
		format = columns
	} else if rest, ok := strings.CutPrefix(format, "table "); ok {
		table, format = true, rest
	}
	t, err := Parse(format)
	if err != nil {
		return err
	}
	// The tabwriter writes cell by cell.
	whole := bufio.NewWriterSize(w, 16<<10)
	defer whole.Flush()
	var out io.Writer = whole
	if table {
		tw := tabwriter.NewWriter(whole, 10, 1, 3, ' ', 0)
		defer tw.Flush()
		out = tw
		titles, err := t.Clone()
		if err != nil {
			return err
		}
		if err := Execute(out, titles.Funcs(ofTitles), head); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := Execute(out, t, row); err != nil {
			return err
		}
	}
	return nil
}

// ofTitles leaves column titles as they are, as docker does.
var ofTitles = template.FuncMap{
	"json": func(title any) any { return title }, "title": same, "lower": same, "upper": same,
	"split":    func(title, _ string) string { return title },
	"join":     func(title, _ string) string { return title },
	"truncate": func(title string, _ int) string { return title },
}

func same(title string) string { return title }

// Execute prints one value and a line end.
func Execute(w io.Writer, t *template.Template, value any) error {
	var line bytes.Buffer
	if err := t.Execute(&line, value); err != nil {
		return invalid("template parsing error: %w", err)
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}

// Parse reads a template with docker's functions; \t and \n may be written as such.
func Parse(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			err := e.Encode(v)
			return strings.TrimSpace(b.String()), err
		},
		"split": strings.Split,
		"join":  func(list []string, sep string) string { return strings.Join(list, sep) },
		"title": func(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] },
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"pad": func(s string, before, after int) string {
			return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
		},
		"truncate": func(s string, n int) string { return s[:min(n, len(s))] },
		"print":    func(list ...any) string { return fmt.Sprint(plainAll(list)...) },
		"printf":   func(format string, list ...any) string { return fmt.Sprintf(format, plainAll(list)...) },
		"println":  func(list ...any) string { return fmt.Sprintln(plainAll(list)...) },
		"plain":    plain,
	}).Parse(text)
	if err != nil {
		return nil, invalid("template parsing error: %w", err)
	}
	plainAddresses(t)
	return t, nil
}

// Object is one answer of the API as it came, and what it decodes into (a pointer, or nil for whatever fits).
type Object struct {
	Raw  json.RawMessage
	Type any
}

// Objects prints API objects for `inspect`: an indented JSON array, or a template over each. As with docker, a template
// sees the Go type first, and the decoded JSON where that has no such field.
func Objects(w io.Writer, format string, objects []Object) error {
	if format == "" || format == "json" {
		raw := make([]json.RawMessage, len(objects))
		for i, o := range objects {
			raw[i] = o.Raw
		}
		data, err := json.Marshal(raw)
		if err == nil && format == "" {
			var out bytes.Buffer
			err = json.Indent(&out, data, "", "    ")
			data = out.Bytes()
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", data)
		}
		return err
	}
	t, err := Parse(format)
	if err != nil {
		return err
	}
	t = t.Option("missingkey=error")
	for _, o := range objects {
		if o.Type != nil && json.Unmarshal(o.Raw, o.Type) == nil {
			var line bytes.Buffer
			if Execute(&line, t, o.Type) == nil {
				if _, err := w.Write(line.Bytes()); err != nil {
					return err
				}
				continue
			}
		}
		decoder := json.NewDecoder(bytes.NewReader(o.Raw))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		if err := Execute(w, t, value); err != nil {
			return err
		}
	}
	return nil
}

// Ago words a Unix time as docker does: "5 minutes ago".
func Ago(unix int64) string {
	if unix <= 0 {
		return "N/A"
	}
	return units.HumanDuration(time.Since(time.Unix(unix, 0))) + " ago"
}

// Size words bytes as docker does: "4.5MB".
func Size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// Ellipsis cuts s to at most n characters, the last of which is then "…".
func Ellipsis(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

func invalid(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }
