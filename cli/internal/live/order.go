package live

import (
	"cmp"
	"slices"
	"strings"

	"pier/lib/errkind"
)

// Order is how containers follow each other: the largest first, names from A. The zero value is that of their coming.
type Order struct {
	By      string // one of OrderNames, or ""
	Reverse bool
}

// OrderNames are what a table of containers can be sorted by.
func OrderNames() []string { return []string{"name", "cpu", "mem", "net", "block", "pids"} }

// ParseOrder reads a name of OrderNames, "" or one with "-" before it for the other direction.
func ParseOrder(s string) (Order, error) {
	name, reverse := strings.CutPrefix(s, "-")
	if s != "" && !slices.Contains(OrderNames(), name) {
		return Order{}, errkind.New(errkind.Invalid, "invalid argument %q for --sort: use one of %s, with a minus for the other direction", s, strings.Join(OrderNames(), ", "))
	}
	return Order{name, reverse}, nil
}

// key changes the order as a key asks for it, and reports whether it was such a key.
func (o *Order) key(key string) bool {
	by := map[string]string{"n": "name", "c": "cpu", "m": "mem", "i": "net", "b": "block", "p": "pids"}[key]
	switch {
	case key == "r":
		o.Reverse = !o.Reverse
	case by != "":
		o.By, o.Reverse = by, false
	default:
		return false
	}
	return true
}

// orderHelp names the keys of Order.key.
const orderHelp = "sort: c CPU  m memory  i network  b block I/O  p processes  n name  r reverse"

func (o Order) sort(list []*figures) {
	largest := func(value func(*figures) float64) func(x, y *figures) int {
		return func(x, y *figures) int { return cmp.Compare(value(y), value(x)) }
	}
	var before func(x, y *figures) int
	switch o.By {
	case "name":
		before = func(x, y *figures) int { return strings.Compare(x.Name, y.Name) }
	case "cpu":
		before = largest(func(f *figures) float64 { return f.CPU })
	case "mem":
		before = largest(func(f *figures) float64 { return f.Memory })
	case "net":
		before = largest(func(f *figures) float64 { return float64(f.Rx + f.Tx) })
	case "block":
		before = largest(func(f *figures) float64 { return float64(f.Read + f.Written) })
	case "pids":
		before = largest(func(f *figures) float64 { return float64(f.PIDs) })
	}
	if before != nil {
		slices.SortStableFunc(list, before)
	}
	if o.Reverse {
		slices.Reverse(list)
	}
}
