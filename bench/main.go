// Command bench measures Pier beside Debian's docker.io on this machine, in one run: short blocks of each side's commands are
// run in turn, so that a machine that slows down slows both, and what counts is the ratio of medians.
//
// It starts both daemons with data roots and sockets of their own. `make bench` runs it in a network namespace of its
// own, so that no bridge or rule of the machine is touched.
//
//	bench [-n RUNS] [-only WORD] [-heavy] [-churn N]
//
// The rows with hundreds of containers and more run with -heavy, or when -only names one: parallel, list, stats, health, input,
// churn, ready.
//
// Start reading at main.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// row is one line of the table: a piece of work done both ways.
type row struct {
	name    string
	promise float64       // if not 0, the peer's median must be at least this many times ours
	ceiling time.Duration // if not 0, our median must be at most this
	ours    step
	peer    step // do is nil: no peer
}

// step is one side's work.
type step struct {
	before func() error // what it needs each time, not timed; nil: nothing
	do     func() error
}

func main() {
	runs := flag.Int("n", 20, "counted runs of each command")
	only := flag.String("only", "", "only the rows whose name holds this word")
	heavy := flag.Bool("heavy", false, "also what takes minutes: hundreds and thousands of containers")
	churn := flag.Int("churn", 10_000, "containers that the row \"churn\" makes and removes")
	flag.Parse()
	if err := bench(*runs, *only, *heavy, *churn); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(runs int, only string, heavy bool, churn int) error {
	lab, err := newLab()
	if err != nil {
		return err
	}
	defer lab.close()
	fmt.Printf("%-34s %12s %12s %12s %9s %9s\n", "work", "pier", "docker.io", "bwrap floor", "ratio", "promise")
	failed := 0
	for _, r := range lab.rows() {
		if !strings.Contains(r.name, only) {
			continue
		}
		ok, err := measure(r, runs, lab.floor)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if !ok {
			failed++
		}
	}
	for _, c := range lab.checks(heavy, churn) {
		if !strings.Contains(c.name, only) || c.heavy && !heavy && only == "" {
			continue
		}
		ok, err := c.run()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if !ok {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d promises missed", failed)
	}
	return nil
}

// check is a part of the table that measures in a way of its own and prints its rows.
type check struct {
	name  string
	heavy bool
	run   func() (ok bool, err error)
}

func (l *lab) checks(heavy bool, churn int) []check {
	idle := 100
	if heavy {
		idle = 500
	}
	return []check{
		{"parallel burst", false, func() (bool, error) { return l.burst(100) }},
		{"parallel exec stop rm", true, func() (bool, error) { return l.parallel(100) }},
		{"list", true, func() (bool, error) { return l.list(1000, 20) }},
		{"stats", true, func() (bool, error) { return l.stats(200, 20*time.Second) }},
		{"health", true, func() (bool, error) { return l.health(100, 20*time.Second) }},
		{"input", true, func() (bool, error) { return l.input(1 << 30) }},
		{"ready", true, func() (bool, error) { return l.ready(1000, 200, 5) }},
		{"churn", true, func() (bool, error) { return l.churn(churn) }},
		{"memory", false, func() (bool, error) { return l.memory(idle) }},
	}
}

// block is how many commands of one side are counted before it is the other side's turn.
const block = 4

// measure runs both sides in turn, a block of each, and prints the medians. What a block begins with is not counted: it
// finds the processors' caches full of the other side, and the other daemon still at what it does after its answer.
func measure(r row, runs int, floor func() error) (bool, error) {
	type side struct {
		step
		name string
		took []time.Duration
	}
	sides := []*side{{step: r.ours, name: "pier"}, {step: r.peer, name: "peer"}, {name: "bwrap"}}
	if strings.HasPrefix(r.name, "run") {
		sides[2].do = floor
	}
	for done := 0; done < runs; done += block {
		for _, s := range sides {
			if s.do == nil {
				continue
			}
			for i := range min(block, runs-done) + 1 {
				if s.before != nil {
					if err := s.before(); err != nil {
						return false, fmt.Errorf("%s, before: %w", s.name, err)
					}
				}
				d, err := timed(s.do)
				if err != nil {
					return false, fmt.Errorf("%s: %w", s.name, err)
				}
				if i > 0 {
					s.took = append(s.took, d)
				}
			}
		}
	}
	mine, theirs := median(sides[0].took), median(sides[1].took)
	ratio, promises, ok := "-", []string(nil), true
	if theirs > 0 {
		ratio = fmt.Sprintf("%.1f", float64(theirs)/float64(mine))
	}
	if r.promise > 0 {
		promises = append(promises, fmt.Sprintf(">= %.0f", r.promise))
		ok = float64(theirs) >= r.promise*float64(mine)
	}
	if r.ceiling > 0 {
		promises = append(promises, "<= "+ms(r.ceiling))
		ok = ok && mine <= r.ceiling
	}
	fmt.Printf("%-34s %12s %12s %12s %9s %9s%s\n", r.name, ms(mine), blank(theirs), blank(median(sides[2].took)), ratio, cmp.Or(strings.Join(promises, ", "), "-"), verdict(ok))
	return ok, nil
}

func verdict(ok bool) string {
	if ok {
		return ""
	}
	return "  MISSED"
}

func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func blank(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return ms(d)
}
