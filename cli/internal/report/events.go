package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/cli/internal/table"
)

// Events returns a function that prints an event as format has it: "" for a line, "json", or a template.
func Events(w io.Writer, format string) (func(events.Message) error, error) {
	switch format {
	case "":
		return func(m events.Message) error {
			var line bytes.Buffer
			switch {
			case m.TimeNano != 0:
				fmt.Fprintf(&line, "%s ", time.Unix(0, m.TimeNano).Format("2006-01-02T15:04:05.000000000Z07:00"))
			case m.Time != 0:
				fmt.Fprintf(&line, "%s ", time.Unix(m.Time, 0).Format("2006-01-02T15:04:05.000000000Z07:00"))
			}
			fmt.Fprintf(&line, "%s %s %s", m.Type, m.Action, m.Actor.ID)
			if len(m.Actor.Attributes) > 0 {
				var pairs []string
				for k, v := range m.Actor.Attributes {
					pairs = append(pairs, k+"="+v)
				}
				slices.Sort(pairs)
				fmt.Fprintf(&line, " (%s)", strings.Join(pairs, ", "))
			}
			line.WriteByte('\n')
			_, err := w.Write(line.Bytes())
			return err
		}, nil
	case "json":
		e := json.NewEncoder(w)
		return func(m events.Message) error { return e.Encode(m) }, nil
	}
	t, err := table.Parse(format)
	if err != nil {
		return nil, err
	}
	return func(m events.Message) error { return table.Execute(w, t, m) }, nil
}
