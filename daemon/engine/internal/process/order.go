package process

import (
	"cmp"
	"slices"
	"strings"

	"pier/lib/errkind"
)

// order compares two processes as one word of ps --sort says.
type order func(a, b *proc, h *host) int

// orders reads the list of --sort or k: columns, with "-" before those that go from the greatest to the least.
func orders(list string) (out []order, err error) {
	for word := range strings.SplitSeq(list, ",") {
		name, falling := strings.CutPrefix(strings.TrimPrefix(word, "+"), "-")
		name = strings.ToLower(name)
		col, ok := columns[name]
		if !ok {
			return nil, errkind.New(errkind.Invalid, "ps: unknown column %q to sort by", name)
		}
		o := func(a, b *proc, h *host) int { return cmp.Compare(col.value(a, h), col.value(b, h)) }
		if number := numberOf(name); number != nil {
			o = func(a, b *proc, h *host) int { return cmp.Compare(number(a, h), number(b, h)) }
		}
		if falling {
			rising := o
			o = func(a, b *proc, h *host) int { return rising(b, a, h) }
		}
		out = append(out, o)
	}
	return out, nil
}

// sorted are the columns that are numbers, by their field of stat, see proc(5). What is shown of them is rounded, or a date.
var sorted = map[string]int{"ppid": 4, "pgid": 5, "pgrp": 5, "sid": 6, "sess": 6, "pri": 18, "ni": 19, "nice": 19, "nlwp": 20, "thcount": 20,
	"stime": 22, "start": 22, "start_time": 22, "lstart": 22, "vsz": 23, "vsize": 23, "rss": 24, "rssize": 24, "pmem": 24, "%mem": 24}

// numberOf returns how to get the number that a column shows, nil for one of text.
func numberOf(name string) func(p *proc, h *host) float64 {
	switch name {
	case "pid":
		return func(p *proc, _ *host) float64 { return float64(p.pid) }
	case "uid", "euid":
		return func(p *proc, _ *host) float64 { return float64(p.uid) }
	case "gid":
		return func(p *proc, _ *host) float64 { return float64(p.gid) }
	case "c", "pcpu", "%cpu":
		return (*proc).cpu
	case "time", "cputime":
		return func(p *proc, _ *host) float64 { return float64(p.cpuTime()) }
	case "etime", "etimes":
		return func(p *proc, _ *host) float64 { return -float64(p.number(22)) } // who began later is younger
	}
	if field := sorted[name]; field > 0 {
		return func(p *proc, _ *host) float64 { return float64(p.number(field)) }
	}
	return nil
}

// arrange sorts processes, which come by their numbers.
func arrange(procs []*proc, by []order, h *host) {
	slices.SortStableFunc(procs, func(a, b *proc) int {
		for _, o := range by {
			if n := o(a, b, h); n != 0 {
				return n
			}
		}
		return 0
	})
}

// maxLead bounds the lines that are drawn before a process: how deep processes lie is up to the container.
const maxLead = 64

// forest puts each process behind its parent, and siblings in the order in which they come, and draws the lines between them.
func forest(procs []*proc) []*proc {
	children := map[int][]*proc{}
	known, done := map[int]bool{}, map[int]bool{}
	for _, p := range procs {
		known[p.pid] = true
		children[p.parent()] = append(children[p.parent()], p)
	}
	out := make([]*proc, 0, len(procs))
	var grow func(p *proc, branch, lead string)
	grow = func(p *proc, branch, lead string) {
		if done[p.pid] {
			return
		}
		done[p.pid], p.branch = true, branch
		out = append(out, p)
		below := children[p.pid]
		for i, child := range below {
			next := lead
			switch {
			case len(lead) >= maxLead:
			case i < len(below)-1:
				next += " |  "
			default:
				next += "    "
			}
			grow(child, lead+` \_ `, next)
		}
	}
	for _, p := range procs {
		if !known[p.parent()] {
			grow(p, "", "")
		}
	}
	for _, p := range procs { // a number that was given anew while they were read may have closed a circle
		grow(p, "", "")
	}
	return out
}
