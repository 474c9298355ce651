// Package version says which Pier this is.
//
// Start reading at Read.
package version

import "runtime/debug"

// Number is the version of Pier, as semantic versioning has it.
const Number = "0.1.0"

// Info is a version with the source it was built from, as far as the Go tool recorded it.
type Info struct {
	Number string
	Commit string // revision, "" if unknown; with "-dirty" where files differed from it
	Time   string // of the revision, RFC 3339, "" if unknown
}

// Read returns the version of the running program. It takes some microseconds.
func Read() Info {
	i := Info{Number: Number}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return i
	}
	dirty := false
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && i.Commit != "" {
		i.Commit += "-dirty"
	}
	return i
}
