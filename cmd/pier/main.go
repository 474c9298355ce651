// Command pier is the client of Pier: it asks pierd, or any server of the Docker Engine API, over a socket.
//
// Start reading at cli.Main.
package main

import (
	"os"
	"runtime"

	"pier/cli"
)

func main() {
	// It waits and copies: threads that look for something to do beside that cost it more than they can bring.
	runtime.GOMAXPROCS(1)
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Getenv))
}
