package live

import (
	"bytes"
	"strings"

	"pier/cli/internal/row"
	"pier/cli/internal/table"
)

// Stats is the table of `stats` in place.
type Stats struct {
	Board  *Board
	Order  Order
	Short  bool   // identifiers are cut
	Format string // a template; "" or "table" for columns that fit the terminal
	Colour bool
}

// Columns is the template of the usual table.
const Columns = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"

// Lines implements View.
func (s *Stats) Lines(width, height int) []string {
	if s.Format != "" && s.Format != "table" {
		var text bytes.Buffer
		if err := table.Render(&text, s.Format, Columns, row.StatsHead(), s.Board.Rows(s.Order, s.Short)); err != nil {
			text.WriteString(err.Error()) // the template was tried before the show began: only a sample can be wrong
		}
		return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	}
	columns := []Column{{Title: s.title("CONTAINER ID", ""), Keep: 3}, {Title: s.title("NAME", "name"), Cut: true}, {Title: s.title("CPU %", "cpu")},
		{Title: s.title("MEM USAGE / LIMIT", "mem"), Keep: 6}, {Title: "MEM %", Keep: 5}, {Title: s.title("NET I/O", "net"), Keep: 2},
		{Title: s.title("BLOCK I/O", "block"), Keep: 1}, {Title: s.title("PIDS", "pids"), Keep: 4}}
	var rows [][]Cell
	for _, f := range s.Board.figures(s.Order) {
		r := row.StatsOf(f.Usage, s.Short)
		rows = append(rows, []Cell{{Text: r.ID}, {Text: r.Name}, {r.CPUPerc, s.heat(f.CPU)}, {Text: r.MemUsage}, {r.MemPerc, s.heat(f.MemoryShare())},
			{Text: r.NetIO}, {Text: r.BlockIO}, {Text: r.PIDs}})
	}
	lines := Fit(columns, rows, width)
	if s.Colour {
		lines[0] = Paint("1", lines[0])
	}
	return lines[:min(len(lines), height)]
}

// Key implements View.
func (s *Stats) Key(key string) bool {
	s.Order.key(key)
	return key == "q"
}

// title marks the column that the table is sorted by.
func (s *Stats) title(title, by string) string { return marked(title, by, s.Order) }

func marked(title, by string, o Order) string {
	switch {
	case by == "" || by != o.By:
		return title
	case o.Reverse:
		return title + "↑"
	}
	return title + "↓"
}

func (s *Stats) heat(percent float64) string {
	if !s.Colour {
		return ""
	}
	return heat(percent)
}

// heat is the colour of a share: what wants attention stands out, what rests is faint.
func heat(percent float64) string {
	switch {
	case percent >= 80:
		return "31"
	case percent >= 50:
		return "33"
	case percent < 0.05:
		return "2"
	}
	return ""
}
