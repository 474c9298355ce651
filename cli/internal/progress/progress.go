package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
	"golang.org/x/term"

	"pier/cli/internal/table"
	"pier/cli/internal/terminal"
)

// Show prints a stream of progress messages (pull, load, import, build) on w: on a terminal one line an ID that is
// rewritten in place, elsewhere a line for every change of status. aux gets the messages that carry one and reports
// whether it used the message up; it may be nil. An error that the stream carries is returned as *jsonstream.Error.
func Show(r io.Reader, w io.Writer, aux func(jsonstream.Message) bool) error {
	fd, isTerminal := terminal.Of(w)
	d := display{w: w, terminal: isTerminal, row: map[string]int{}, last: map[string]string{}, size: func() (width, height int) {
		width, height, err := term.GetSize(fd)
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}}
	decoder := json.NewDecoder(r)
	for {
		var m jsonstream.Message
		switch err := decoder.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("progress of the daemon: %w", err)
		case m.Error != nil:
			return m.Error
		case m.Aux != nil && aux != nil && aux(m):
		default:
			d.show(&m)
		}
	}
}

// display is where progress lines go. It belongs to one goroutine.
type display struct {
	w        io.Writer
	terminal bool
	size     func() (width, height int)
	row      map[string]int    // line of each ID, from the first
	last     map[string]string // latest status of each ID
}

func (d *display) show(m *jsonstream.Message) {
	switch {
	case m.Stream != "":
		fmt.Fprint(d.w, m.Stream)
	case m.Status == "" && m.Progress == nil:
	case m.ID == "":
		d.row = map[string]int{} // what follows stands below this line
		fmt.Fprintf(d.w, "%s\n", m.Status)
	case !d.terminal:
		if d.last[m.ID] != m.Status {
			d.last[m.ID] = m.Status
			fmt.Fprintf(d.w, "%s: %s\n", m.ID, m.Status)
		}
	default:
		d.rewrite(m)
	}
}

func (d *display) rewrite(m *jsonstream.Message) {
	line, known := d.row[m.ID]
	if !known {
		line = len(d.row)
		d.row[m.ID] = line
		fmt.Fprintln(d.w)
	}
	width, height := d.size()
	up := len(d.row) - line
	if up >= height {
		return // it has left the screen at the top, where no cursor goes
	}
	text := fmt.Sprintf("%s: %s", m.ID, m.Status)
	if m.Progress != nil {
		text += " " + bar(m.Progress, width-len(text)-1)
	}
	fmt.Fprintf(d.w, "\x1b[%dA\r\x1b[2K%s\x1b[%dB\r", up, table.Ellipsis(strings.TrimSpace(text), width), up)
}

// bar draws how far something is, in at most width characters.
func bar(p *jsonstream.Progress, width int) string {
	if p.Current <= 0 && p.Total <= 0 {
		return ""
	}
	amount := units.HumanSize(float64(p.Current))
	if p.Total <= 0 || p.Current > p.Total {
		return amount
	}
	numbers := fmt.Sprintf(" %8s/%s", amount, units.HumanSize(float64(p.Total)))
	if p.Start > 0 && p.Current > 0 {
		spent := time.Since(time.Unix(p.Start, 0)).Round(time.Second)
		left := time.Duration(float64(spent) / float64(p.Current) * float64(p.Total-p.Current)).Round(time.Second)
		numbers += " " + left.String()
	}
	cells := min(width-len(numbers)-2, 50)
	if cells < 5 {
		return numbers
	}
	full := int(float64(cells) * float64(p.Current) / float64(p.Total))
	head := ">"
	if full == cells {
		head = ""
	}
	return "[" + strings.Repeat("=", full) + head + strings.Repeat(" ", max(0, cells-full-len(head))) + "]" + numbers
}
