// Package command is the command line of pierd: flags, configuration file, signals, and the words start (none), stop,
// upgrade and cleanup.
//
// Start reading at Run.
package command
