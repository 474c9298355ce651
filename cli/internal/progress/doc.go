// Package progress shows work that the daemon does: what a pull or load has got to, and the steps of a build.
//
//	progress.go  messages with an ID and a status, as pull and load send them
//	build.go     a build: its steps, the image, what is said in words
//	steps.go     the steps of a build, and the View that shows them
//	plain.go     View: a line for every fact
//	tree.go      View: a list that is redrawn in place
//
// Start reading at Show.
package progress
