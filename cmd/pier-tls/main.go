// Command pier-tls holds a connection with TLS for pier, which starts it and talks through its standard streams.
//
// Start reading at tlspipe.Main.
package main

import (
	"os"

	"pier/client/tlspipe"
)

func main() {
	os.Exit(tlspipe.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
