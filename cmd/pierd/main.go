// Command pierd is Pier's daemon: it runs containers and serves the Docker Engine API.
//
// Start reading at pier/daemon/command.Run.
package main

import (
	"os"

	"pier/daemon/command"
)

func main() { os.Exit(command.Run(os.Args[1:], os.Stdout, os.Stderr)) }
