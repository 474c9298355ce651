package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pier/cli/internal/completion"
	"pier/cli/internal/help"
	"pier/cli/internal/pruning"
	"pier/cli/internal/terminal"
)

// command is one word of the command line and how to build what is behind it.
type command struct {
	name  string
	group string
	make  func(*app) *cobra.Command
}

const (
	groupCommon = "common"
	groupMore   = "more"
	groupManage = "manage"
)

// commands returns every top-level word. It is a function so that starting pier builds one of them, not all.
func commands() []command {
	return []command{
		{"run", groupCommon, newRun}, {"exec", groupCommon, newExec}, {"ps", groupCommon, newPs},
		{"build", groupCommon, newBuild}, {"pull", groupCommon, newPull}, {"images", groupCommon, newImages},
		{"logs", groupCommon, newLogs}, {"version", groupCommon, newVersion}, {"info", groupCommon, newInfo},
		{"env", groupCommon, newEnv},

		{"attach", groupMore, newAttach}, {"commit", groupMore, newCommit}, {"cp", groupMore, newCp},
		{"create", groupMore, newCreate}, {"debug", groupMore, newDebug}, {"diff", groupMore, newDiff}, {"events", groupMore, newEvents},
		{"export", groupMore, newExport}, {"history", groupMore, newHistory}, {"import", groupMore, newImport}, {"inspect", groupMore, newInspect},
		{"kill", groupMore, newKill}, {"load", groupMore, newLoad}, {"pause", groupMore, newPause},
		{"port", groupMore, newPort}, {"rename", groupMore, newRename}, {"restart", groupMore, newRestart},
		{"rm", groupMore, newRm}, {"rmi", groupMore, newRmi}, {"save", groupMore, newSave}, {"start", groupMore, newStart},
		{"stats", groupMore, newStats}, {"stop", groupMore, newStop}, {"tag", groupMore, newTag}, {"top", groupMore, newTop},
		{"unpause", groupMore, newUnpause}, {"update", groupMore, newUpdate}, {"wait", groupMore, newWait},

		{"builder", groupManage, newBuilderGroup}, {"checkpoint", groupManage, newCheckpointGroup}, {"container", groupManage, newContainerGroup}, {"context", groupManage, newContextGroup}, {"image", groupManage, newImageGroup},
		{"network", groupManage, newNetworkGroup}, {"volume", groupManage, newVolumeGroup}, {"system", groupManage, newSystemGroup},
	}
}

// Main runs one command line and returns the exit code. env is os.Getenv.
func Main(args []string, streams Streams, env func(string) string) int {
	a := &app{Streams: streams}
	a.env = func(name string) string {
		if name == "DOCKER_CONFIG" && a.config != "" {
			return a.config
		}
		return env(name)
	}
	ctx, stop := interruptible()
	defer stop()
	root := newRoot(a, args)
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if a.current != nil {
		a.current.Close()
	}
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: 1, err: err}
	}
	switch {
	case exit.err == nil:
	case ctx.Err() != nil && errors.Is(exit.err, context.Canceled):
		return 130
	case errors.As(exit.err, new(*usageError)):
		a.warnf("%s", exit.err)
	case exit.code == 125, errors.As(exit.err, new(*startError)):
		a.warnf("pier: %s\n\nRun '%s --help' for more information", message(exit.err), cmd.CommandPath())
	default:
		a.report(exit.err)
	}
	return exit.code
}

// interruptLater is how long an interrupt ends pier at once: nothing is begun by then that wants to be ended with care,
// and catching signals takes a thread, which costs a short command more than all it does.
const interruptLater = 30 * time.Millisecond

// interruptible returns a context that ends with the first interrupt; the second one ends pier. stop is to be called.
func interruptible() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	later := time.AfterFunc(interruptLater, func() {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, os.Interrupt)
		defer signal.Stop(caught)
		select {
		case <-caught:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		later.Stop()
		cancel()
	}
}

func message(err error) string {
	text := strings.TrimSpace(err.Error())
	if isAnswer(err) {
		return "Error response from daemon: " + text
	}
	return text
}

// newRoot builds the command tree that args need: the named command alone, or everything for help and completion.
func newRoot(a *app, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:                   "pier [OPTIONS] COMMAND [ARG...]",
		Short:                 "Build, run and look after containers",
		SilenceErrors:         true,
		SilenceUsage:          true,
		TraverseChildren:      true,
		DisableFlagsInUseLine: true,
		Args:                  unknownCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asked, _ := cmd.Flags().GetBool("version"); asked {
				a.printf("%s\n", versionLine())
				return nil
			}
			return cmd.Help()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	f := root.Flags()
	f.SetInterspersed(false)
	f.BoolP("version", "v", false, "Print version information and quit")
	f.StringVarP(&a.choice.Host, "host", "H", "", "Daemon socket to connect to (unix:///path, tcp://host:port, ssh://user@host)")
	f.StringVarP(&a.choice.Context, "context", "c", "", "Name of the context that names the daemon (overrides PIER_HOST)")
	f.StringVar(&a.config, "config", "", "Location of client config files (default \"~/.docker\")")
	f.StringP("log-level", "l", "info", "Set the logging level of docker; pier logs nothing")
	f.Lookup("log-level").Hidden = true
	f.BoolVarP(&a.debug, "debug", "D", false, "Say more about what goes wrong")
	f.BoolVar(&a.choice.TLS.Enabled, "tls", false, "Use TLS; implied by --tlsverify")
	f.BoolVar(&a.choice.TLS.Verify, "tlsverify", false, "Use TLS and verify the daemon")
	f.StringVar(&a.choice.TLS.CA, "tlscacert", "", "Trust certificates signed only by this authority")
	f.StringVar(&a.choice.TLS.Cert, "tlscert", "", "Path to the TLS certificate file")
	f.StringVar(&a.choice.TLS.Key, "tlskey", "", "Path to the TLS key file")

	root.AddGroup(&cobra.Group{ID: groupCommon, Title: "Common Commands:"}, &cobra.Group{ID: groupManage, Title: "Management Commands:"},
		&cobra.Group{ID: groupMore, Title: "Commands:"})
	root.SetHelpCommand(&cobra.Command{Use: "help [command]", Hidden: true, RunE: func(cmd *cobra.Command, args []string) error {
		target, _, err := root.Find(args)
		if err != nil {
			return err
		}
		return target.Help()
	}})
	all := commands()
	named := slices.IndexFunc(all, func(c command) bool { return c.name == firstWord(root, args) })
	if named >= 0 {
		all = all[named : named+1]
	}
	for _, c := range all {
		cmd := c.make(a)
		cmd.GroupID = c.group
		cmd.DisableFlagsInUseLine = true
		root.AddCommand(cmd)
	}
	if named < 0 {
		root.AddCommand(newCompletion(a))
	}
	help.Install(root, int(terminal.Size(a.Out)[1]))
	root.SetFlagErrorFunc(wrongFlag)
	plainHelp(root)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		completion.Install(root, &completion.Source{Client: a.client, Env: a.env})
	}
	return root
}

// plainHelp gives every command --help without the letter -h, which stands for --hostname.
func plainHelp(cmd *cobra.Command) {
	cmd.Flags().Bool("help", false, "Print usage")
	cmd.Flags().Lookup("help").Hidden = true
	for _, child := range cmd.Commands() {
		plainHelp(child)
	}
}

// firstWord is the first argument that is neither a flag of root nor a flag's value.
func firstWord(root *cobra.Command, args []string) string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			return arg
		}
		if strings.Contains(arg, "=") {
			continue
		}
		flag := root.Flags().Lookup(strings.TrimLeft(arg, "-"))
		if len(arg) == 2 {
			flag = root.Flags().ShorthandLookup(arg[1:])
		}
		if flag != nil && flag.NoOptDefVal == "" {
			i++
		}
	}
	return ""
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return invalid("%s: unknown command: %s %s\n\nRun '%s --help' for more information", cmd.Root().Name(), cmd.CommandPath(), args[0], cmd.CommandPath())
}

// group makes a management command such as `pier container`.
func group(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " COMMAND", Short: short, Args: unknownCommand, RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() }}
	for _, c := range children {
		c.DisableFlagsInUseLine = true
	}
	cmd.AddCommand(children...)
	return cmd
}

// as gives a command another name, for its place in a group.
func as(name string, cmd *cobra.Command) *cobra.Command {
	_, rest, _ := strings.Cut(cmd.Use, " ")
	cmd.Use = strings.TrimSpace(name + " " + rest)
	return cmd
}

func newContainerGroup(a *app) *cobra.Command {
	ls := as("ls", newPs(a))
	ls.Aliases = []string{"ps", "list"}
	rm := newRm(a)
	rm.Aliases = []string{"remove"}
	inspect := newInspectOf(a, "container")
	return group("container", "Manage containers", newAttach(a), newCommit(a), newCp(a), newCreate(a), newDebug(a), newDiff(a), newExec(a), newExport(a), inspect, newKill(a), newLogs(a), ls, newPause(a),
		newPort(a), a.pruning("container prune", "Remove all stopped containers", "all stopped containers", pruning.Containers), newRename(a), newRestart(a), rm, newRun(a), newStart(a), newStats(a), newStop(a), newTop(a), newUnpause(a), newUpdate(a), newWait(a))
}

func newImageGroup(a *app) *cobra.Command {
	ls := as("ls", newImages(a))
	ls.Aliases = []string{"list"}
	rm := as("rm", newRmi(a))
	rm.Aliases = []string{"rmi", "remove"}
	prune := a.pruning("image prune", "Remove unused images", "all dangling images", pruning.Images)
	prune.Flags().BoolP("all", "a", false, "Remove all unused images, not just dangling ones")
	return group("image", "Manage images", newBuild(a), newHistory(a), newImport(a), newInspectOf(a, "image"), newLoad(a), ls, prune, newPull(a), rm, newSave(a), newTag(a))
}

func newSystemGroup(a *app) *cobra.Command {
	return group("system", "Look at the daemon and clear up", newDf(a), newEvents(a), newInfo(a), newSystemPrune(a), newDialStdio(a))
}
