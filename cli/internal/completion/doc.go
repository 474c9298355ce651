// Package completion knows which words could come next on the command line: names that the daemon tells, values that
// flags take. It is asked only by the scripts that `pier completion` prints, so nothing of it costs a command any time.
//
//	install.go  which command and which flag takes what
//	daemon.go   names of containers, images, networks, volumes, contexts
//	words.go    lists that do not depend on the daemon
//
// Start reading at Install.
package completion
