// Package terminal joins the user's standard streams with a container's: raw mode, window size, signals, detach keys.
//
//	terminal.go  what is a terminal, and how large
//	session.go   copying in both directions
//	keys.go      detach keys
//	signals.go   signals to forward, changes of size
//	harmless.go  text that no terminal obeys
//
// Start reading at Session.
package terminal
