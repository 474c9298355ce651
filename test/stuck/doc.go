// Package stuck tests pierd beside things that hang: a supervisor that is stopped, a container that waits in the kernel
// for a file system that never answers, a log on a full disk. All else must go on, and what is asked of the stuck one be
// answered in bounded time.
//
// Start reading at stuck_test.go.
package stuck
