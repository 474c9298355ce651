package volume

import (
	"slices"
	"strings"
)

// Filter selects volumes; empty fields select all. It is what the filters of the API become.
type Filter struct {
	// Names are parts of names, of which one must occur. Drivers are whole names of drivers.
	Names, Drivers []string
	// Labels are "key" or "key=value", all of which must fit; NotLabels none of which may.
	Labels, NotLabels []string
	// Dangling, if not nil, selects volumes that nobody holds (true) or somebody holds (false).
	Dangling *bool
}

// fits reports whether f selects one; Volumes.mu is held.
func (f Filter) fits(one *volume) bool {
	labelled := func(want string) bool {
		key, value, exact := strings.Cut(want, "=")
		have, ok := one.Labels[key]
		return ok && (!exact || have == value)
	}
	switch {
	case len(f.Names) > 0 && !slices.ContainsFunc(f.Names, func(part string) bool { return strings.Contains(one.name, part) }),
		len(f.Drivers) > 0 && !slices.Contains(f.Drivers, "local"),
		slices.ContainsFunc(f.Labels, func(l string) bool { return !labelled(l) }),
		slices.ContainsFunc(f.NotLabels, labelled),
		f.Dangling != nil && *f.Dangling != (len(one.holders) == 0):
		return false
	}
	return true
}
