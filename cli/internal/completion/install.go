package completion

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pier/client"
)

// Source is where names come from.
type Source struct {
	// Client returns the client of the daemon that the command line names. An error means: no names.
	Client func() (*client.Client, error)
	Env    func(string) string
}

// completer offers the words that could stand where start is being typed, after args.
type completer = cobra.CompletionFunc

// Install gives every command below root what completes its arguments and the values of its flags.
func Install(root *cobra.Command, s *Source) {
	flags, arguments := s.flags(), s.arguments()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), root.Name()), " ")
		if complete, ok := arguments[strings.TrimPrefix(path, "container ")]; ok {
			cmd.ValidArgsFunction = complete
		} else if cmd.ValidArgs == nil {
			cmd.ValidArgsFunction = nothing
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" || slices.Contains(files(), f.Name) {
				return
			}
			complete, ok := flags[path+" --"+f.Name]
			if !ok {
				complete, ok = flags["--"+f.Name]
			}
			if !ok {
				complete = nothing
			}
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // fails only for a flag that has one, or is none
		})
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
}

// files are the flags whose value is a path: the shell completes those.
func files() []string {
	return []string{"cidfile", "config", "env-file", "file", "iidfile", "input", "label-file", "output", "tlscacert", "tlscert", "tlskey"}
}

// arguments by command; those of `container X` are those of X.
func (s *Source) arguments() map[string]completer {
	running := s.containers(false, func(c *container.Summary) bool { return c.State == "running" || c.State == "paused" })
	notPaused := s.containers(false, func(c *container.Summary) bool { return c.State == "running" })
	paused := s.containers(false, func(c *container.Summary) bool { return c.State == "paused" })
	stopped := s.containers(true, func(c *container.Summary) bool { return c.State != "running" && c.State != "paused" })
	all := s.containers(true, nil)
	m := map[string]completer{
		"attach": first(running), "commit": first(all), "cp": s.copied(all), "create": first(s.images), "debug": first(all), "diff": first(all),
		"exec": first(running), "export": first(all), "inspect": every(s.anything), "kill": every(running), "logs": first(all), "pause": every(notPaused),
		"port": first(running), "rename": first(all), "restart": every(all), "rm": every(s.removable(stopped, all)), "run": first(s.images), "start": every(stopped),
		"stats": every(running), "stop": every(running), "top": first(running), "unpause": every(paused), "update": every(all), "wait": every(running),

		"build": folders, "history": first(s.images), "images": first(s.images), "import": anyFile, "pull": first(s.images), "rmi": every(s.images), "save": every(s.images), "tag": first(s.images),
		"load": nothing,

		"network connect": inTurn(s.networks, all), "network disconnect": inTurn(s.networks, all), "network inspect": every(s.networks), "network rm": every(s.networks),
		"checkpoint create": first(running), "checkpoint ls": first(all), "checkpoint rm": inTurn(all, s.checkpoints),
		"volume inspect": every(s.volumes), "volume rm": every(s.volumes),
		"context export": inTurn(s.contexts, anyFile), "context import": inTurn(nothing, anyFile), "context inspect": every(s.contexts), "context rm": every(s.contexts), "context update": first(s.contexts), "context use": first(s.contexts),
		"image inspect": every(s.images), "image ls": first(s.images), "image rm": every(s.images), "builder build": folders,
	}
	m["image build"], m["image history"], m["image import"], m["image pull"], m["image save"], m["image tag"] = folders, m["history"], m["import"], m["pull"], m["save"], m["tag"]
	m["container inspect"] = every(all)
	return m
}

// flags by name, or by command and name where a name means different things.
func (s *Source) flags() map[string]completer {
	all := s.containers(true, nil)
	m := map[string]completer{
		"--attach": words("stdin", "stdout", "stderr"), "--cap-add": words(append([]string{"ALL"}, capabilities()...)...), "--cap-drop": words(append([]string{"ALL"}, capabilities()...)...),
		"--cgroupns": words("host", "private"), "--checkpoint": s.checkpoints, "--checkpoint-dir": folders, "--context": s.contexts, "--env": environment, "--filter": nothing, "--format": words("json", "table"), "--from": s.contexts,
		"--gpus": words("all"), "--image": s.images, "--ipc": s.mode("host", "none", "private", "shareable"), "--isolation": words("default"), "--link": all,
		"--log-driver": s.plugins(log), "--log-level": words("debug", "info", "warn", "error", "fatal"), "--mount": parts("type=bind", "type=image", "type=tmpfs", "type=volume"),
		"--net": s.network(), "--network": s.network(), "--pid": s.mode("host"), "--platform": words("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"),
		"--progress": words("auto", "plain", "tty"), "--publish-rm": s.published, "--pull": words("always", "missing", "never"), "--restart": parts("no", "always", "on-failure", "on-unhealthy", "unless-stopped"),
		"--runtime": s.runtimes, "--secret": parts("env=", "id=", "src=", "type=env", "type=file"), "--security-opt": parts("apparmor=", "no-new-privileges", "seccomp=", "seccomp=unconfined", "systemd=false", "systemd=true", "systempaths=unconfined"), "--shell": words("bash", "fish", "sh", "zsh"),
		"--signal": words(signals()...), "--sort": words("block", "cpu", "mem", "name", "net", "pids"), "--stop-signal": words(signals()...), "--storage-opt": parts("size="), "--tail": words("all"),
		"--type": words("container", "image", "network", "volume"), "--ulimit": parts(ulimits()...), "--userns": words("host"), "--uts": words("host"), "--volume": s.volumeSpec,
		"--volume-driver": s.plugins(volumes), "--volumes-from": all, "volume create --driver": s.plugins(volumes), "volume create --opt": parts("device=", "o=", "size=", "type="), "network create --driver": s.plugins(networks),
	}
	for _, path := range []string{"inspect", "container inspect", "image inspect", "network inspect", "volume inspect", "context inspect", "info", "system info", "version", "events", "system events"} {
		m[path+" --format"] = words("json") // they have no table
	}
	for path, keys := range filters() {
		m[path+" --filter"] = s.filter(keys)
	}
	return m
}

func nothing(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func anyFile(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func folders(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// words offers the same words always.
func words(list ...string) completer {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// parts offers beginnings that may go on.
func parts(list ...string) completer {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
}

// first completes the first argument alone.
func first(c completer) completer { return inTurn(c) }

// inTurn completes each argument in its own way.
func inTurn(list ...completer) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(list) {
			return nothing(cmd, args, start)
		}
		return list[len(args)](cmd, args, start)
	}
}

// every completes every argument, and offers nothing twice.
func every(c completer) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list, directive := c(cmd, args, start)
		return slices.DeleteFunc(list, func(word string) bool {
			name, _, _ := strings.Cut(word, "\t")
			return slices.Contains(args, name)
		}), directive
	}
}
