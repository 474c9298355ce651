// Package buildinfo tells which Pier this is. The Makefile sets the values with -ldflags -X.
//
// Start reading at Version.
package buildinfo

// Version, Commit (short hash) and Time (RFC 3339) of this build; only the linker sets them.
var (
	Version = "0.1.0-dev"
	Commit  = "unknown"
	Time    = ""
)
