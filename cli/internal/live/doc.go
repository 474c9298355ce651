// Package live shows what changes on a terminal: pictures drawn in place, without flicker, that end by a key or a signal
// and leave the terminal as it was.
//
//	screen.go  the terminal: alternate screen, raw keys, size, signals, and its state given back on every way out
//	table.go   columns that fit the width there is
//	board.go   the latest figures of each container, from the daemon's streams
//	stats.go   View: the table of `stats`
//	top.go     View: all containers, and the processes of one
//
// Start reading at Show.
package live
