// Command pier is the client of Pier: it asks pierd, or any server of the Docker Engine API, over a socket.
//
// Start reading at cli.Main.
package main

import (
	"os"

	"pier/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Getenv))
}
