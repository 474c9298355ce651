// Package crash kills Pier's processes while containers run, and checks that nobody notices: containers go on, every
// line of their output is in the log once, exit codes arrive, and nothing leaks.
//
// Start reading at TestKill.
package crash
