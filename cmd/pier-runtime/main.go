// Command pier-runtime starts containers: as an OCI runtime (runtime/command) and, with the first argument "supervise",
// as the one supervisor of a host's containers (runtime/supervisor).
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"pier/kernel/self"
	"pier/kernel/spawn"
	"pier/lib/version"
	"pier/runtime/command"
	"pier/runtime/supervisor"
)

func main() {
	ctx := context.Background()
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		err := supervise(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "pier-runtime supervise:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(command.Main(ctx, version.Number, os.Args[1:]))
}

func supervise(ctx context.Context) error {
	binary, err := os.Executable() // known only until the program is protected
	if err != nil {
		return err
	}
	if err := self.Protect(append(slices.Clone(os.Args), "--binary", binary), os.Environ()); err != nil {
		return err
	}
	if err := spawn.HideMemory(); err != nil {
		return err
	}
	return supervisor.Main(ctx, os.Args[2:])
}
