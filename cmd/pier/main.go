// Command pier is the client of Pier: it asks pierd, or any server of the Docker Engine API, over a socket.
//
// Start reading at cli.Main.
package main

import (
	"os"

	"pier/cli"
)

func main() {
	prepareStack(false)
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Getenv))
}

// prepareStack makes the stack as large as pier will need it, while there is nothing on it: growing step by step under a
// deep call means to copy and adjust every frame each time. It grows because the function could need that much.
//
//go:noinline
func prepareStack(use bool) {
	if use {
		var room [32 << 10]byte
		fill(room[:])
	}
}

//go:noinline
func fill(room []byte) { clear(room) }
