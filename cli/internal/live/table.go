package live

import (
	"strings"
	"unicode"

	"pier/cli/internal/table"
)

// Column is one column of a table that fits the width there is.
type Column struct {
	Title string
	Right bool // numbers stand at the right
	// Keep says what stays on a narrow terminal: columns with the smallest go first, those with 0 never.
	Keep int
	// Cut columns lose their ends when there is nothing left to leave out, down to eight characters.
	Cut bool
}

// Cell is one value, with the code of its colour (SGR), or "".
type Cell struct{ Text, Colour string }

const gap = 2 // between two columns

// Fit lays rows out below the titles, in lines of at most width characters.
func Fit(columns []Column, rows [][]Cell, width int) []string {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = length(c.Title)
		for _, r := range rows {
			widths[i] = max(widths[i], length(r[i].Text))
		}
	}
	shown := make([]bool, len(columns))
	total := -gap
	for i := range columns {
		shown[i] = true
		total += widths[i] + gap
	}
	for total > width {
		i := least(columns, shown)
		if i < 0 {
			break
		}
		shown[i] = false
		total -= widths[i] + gap
	}
	for i, c := range columns {
		if over := total - width; c.Cut && shown[i] && over > 0 {
			less := min(over, max(0, widths[i]-8))
			widths[i] -= less
			total -= less
		}
	}
	head := make([]Cell, len(columns))
	for i, c := range columns {
		head[i].Text = c.Title
	}
	lines := []string{line(columns, head, widths, shown, width)}
	for _, r := range rows {
		lines = append(lines, line(columns, r, widths, shown, width))
	}
	return lines
}

// least is the column to leave out next: the rightmost of those that are kept least; -1 where all must stay.
func least(columns []Column, shown []bool) int {
	found := -1
	for i, c := range columns {
		if shown[i] && c.Keep > 0 && (found < 0 || c.Keep <= columns[found].Keep) {
			found = i
		}
	}
	return found
}

func line(columns []Column, cells []Cell, widths []int, shown []bool, width int) string {
	var b strings.Builder
	left := width
	for i, c := range columns {
		if !shown[i] || left <= 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(strings.Repeat(" ", min(gap, left)))
			left -= gap
		}
		room := min(widths[i], left)
		if room <= 0 {
			break
		}
		text := table.Ellipsis(printable(cells[i].Text), room)
		pad := strings.Repeat(" ", room-length(text))
		if c.Right {
			b.WriteString(pad)
		}
		b.WriteString(Paint(cells[i].Colour, text))
		if !c.Right {
			b.WriteString(pad)
		}
		left -= room
	}
	return strings.TrimRight(b.String(), " ")
}

// Paint puts text in a colour, or leaves it as it is where code is "".
func Paint(code, text string) string {
	if code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printable replaces what a terminal would obey: the arguments of a process are the container's own words.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func length(s string) int { return len([]rune(s)) }
