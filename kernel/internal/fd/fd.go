// Package fd lends the number of an open file to a system call without changing the file.
//
// (*os.File).Fd puts a descriptor into blocking mode, which takes a pipe, FIFO or terminal out of the netpoller for
// everyone who shares it. With and All use the file's raw connection instead and keep the file from being closed
// underneath the call.
//
// Start reading at With.
package fd

import "os"

// With calls fn with the descriptor number of f, which stays open until fn returns. It returns fn's error, or the
// error of a file that is already closed.
func With(f *os.File, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(n uintptr) { inner = fn(int(n)) }); err != nil {
		return err
	}
	return inner
}

// All is With for several files; the numbers are in the order of files.
func All(files []*os.File, fn func(fds []int) error) error {
	fds := make([]int, 0, len(files))
	var next func(i int) error
	next = func(i int) error {
		if i == len(files) {
			return fn(fds)
		}
		return With(files[i], func(n int) error {
			fds = append(fds, n)
			return next(i + 1)
		})
	}
	return next(0)
}
