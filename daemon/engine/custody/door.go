package custody

import (
	"io"
	"log/slog"
)

// Options is what Open needs to know.
type Options struct {
	// Root is pierd's exec-root: supervisor.sock, supervisor.log and tasks/ are below it. It is made if it is missing.
	Root string
	// Binary is the path of pier-runtime.
	Binary string
	// Log gets what happens to the supervisor; nil: slog.Default.
	Log *slog.Logger
}

// Stream is an attached task. Read gives output in Docker's stream frames (one byte stream number 1 or 2, three zero
// bytes, four bytes length big endian, payload); a terminal's output is stream 1. It ends with io.EOF when the task has
// exited and everything was read, and with an error if the supervisor dropped the stream because it was not read for
// too long. Write gives input to the task and waits for it to be taken. CloseWrite says that no input follows: standard
// input is closed if the task was started with StdinOnce. Close ends the stream at any time. ExitCode, for who has read to
// the end, says how the task ended, which the feed of exits tells a moment later; a supervisor of an older release does not
// say it here.
//
// Read, Write and Close may be called at the same time by different goroutines; two of the same kind may not.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	ExitCode() (code int, known bool)
}
