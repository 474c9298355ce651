// Command pier-runtime starts containers: as an OCI runtime (runtime/command) and, with the first argument "supervise",
// as the one supervisor of a host's containers (runtime/supervisor).
package main

import (
	"context"
	"fmt"
	"os"

	"pier/kernel/spawn"
	"pier/lib/version"
	"pier/runtime/command"
	"pier/runtime/supervisor"
)

func main() {
	ctx := context.Background()
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		err := spawn.HideMemory()
		if err == nil {
			err = supervisor.Main(ctx, os.Args[2:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "pier-runtime supervise:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(command.Main(ctx, version.Number, os.Args[1:]))
}
