package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"pier/lib/errkind"
)

// Main is the command `pier-runtime supervise`: args are what follows that word. It returns when the supervisor has ended.
func Main(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	root := flags.String("root", "", "folder for tasks and the socket (an exec-root)")
	socket := flags.String("socket", "", "path of the socket; default: supervisor.sock in the root")
	binary := flags.String("binary", "", "path of this program, which an upgrade executes; default: what the kernel says")
	stateFD := flags.Int("state-fd", 0, "what a former program in this process left")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stdout)
			fmt.Println("Usage: pier-runtime supervise --root FOLDER [--socket PATH]")
			flags.PrintDefaults()
			return nil
		}
		return errkind.New(errkind.Invalid, "supervise: %w", err)
	}
	if *root == "" || flags.NArg() > 0 {
		return errkind.New(errkind.Invalid, "supervise: --root is needed, and nothing but flags; see --help")
	}
	c := Config{Root: *root, Socket: *socket, Binary: *binary, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if *stateFD > 0 {
		st, err := readState(*stateFD)
		if err != nil {
			return err
		}
		c.inherited = st
	}
	return Run(ctx, c)
}
