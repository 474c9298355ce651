// Package cli is the `pier` command line: one file per command, each of which reads flags, makes one or two calls of
// the client and prints. Words, flags, tables, --format templates and exit codes are those of `docker`.
//
//	root.go               the command tree; only the command that was asked for is built
//	app.go                what every command needs: streams, the daemon, errors with exit codes
//	internal/request      flags -> what the API takes, pure
//	internal/completion   what a shell offers, a table by command and flag
//	internal/contexts     daemons by name, in docker's files
//	internal/copying      cp
//	internal/credentials  config.json and credential helpers
//	internal/help         --help
//	internal/live         stats and top in place
//	internal/packing      a folder -> the tar of a build
//	internal/progress     pulls and builds, on a terminal and elsewhere
//	internal/pruning      removing what nothing uses
//	internal/report       what the daemon says of itself: versions, info, events
//	internal/row          API objects -> the lines of tables
//	internal/table        tables, templates, JSON
//	internal/toolbox      what makes a container the toolbox of another, and puts its files in
//	internal/terminal     raw mode, sizes, signals, detach keys
//
// Exit codes: 0; 1 for an error; 125 when `run` fails before the command could start, 126 when it cannot be executed,
// 127 when it does not exist; else the command's own, 128+n after signal n.
//
// Start reading at Main.
package cli
