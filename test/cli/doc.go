// Package cli tests the command line black box: scripts in testdata run against a real daemon, with pier and with the
// stock docker command.
//
// Start reading at TestScripts.
package cli
