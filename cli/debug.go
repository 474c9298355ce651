package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/cli/internal/toolbox"
	"pier/client"
)

// debugImage has a shell and the usual commands in 2 MB.
const debugImage = "busybox"

func newDebug(a *app) *cobra.Command {
	var o debugOptions
	cmd := &cobra.Command{
		Use: "debug [OPTIONS] CONTAINER [COMMAND] [ARG...]", Short: "Look into a container with the tools of another image", Args: minArgs(1),
		Long: "Look into a container with the tools of another image.\n\n" +
			"The toolbox is a container of its own that shares the processes, the network and the host name of CONTAINER,\n" +
			"whose files are at " + toolbox.Files + " in it. Nothing is added to CONTAINER or to its image, which needs no shell.\n" +
			"Where CONTAINER does not run, they are for reading, and its volumes are below " + toolbox.VolumesDir + ".\n" +
			"The end of COMMAND, by default sh, removes the toolbox.",
		Example: "  pier debug web                                a shell beside web\n  pier debug web ls -l /container/etc/nginx     its files\n" +
			"  pier debug --image nicolaka/netshoot web tcpdump -i any port 80",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			o.image = cmp.Or(o.image, a.env("PIER_DEBUG_IMAGE"), debugImage)
			return a.debugContainer(ctx, c, args[0], args[1:], o)
		}),
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.image, "image", "", `Image of the toolbox (default $PIER_DEBUG_IMAGE or "`+debugImage+`")`)
	f.StringVar(&o.pull, "pull", "missing", `Pull the image before ("always", "missing", "never")`)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print nothing but what COMMAND prints")
	f.StringVarP(&o.user, "user", "u", "0:0", "Username or UID in the toolbox (format: <name|uid>[:<group|gid>])")
	f.StringVarP(&o.workdir, "workdir", "w", "", "Working directory in the toolbox")
	f.VarP(request.List(&o.env), "env", "e", "Set environment variables")
	f.BoolVar(&o.privileged, "privileged", false, "Give extended privileges to the toolbox")
	f.BoolVar(&o.trust, "trust", false, "Enter where processes may trace others (SYS_PTRACE)")
	f.BoolVarP(&o.plain, "no-tty", "T", false, "No pseudo-TTY; by default there is one where standard input and output are terminals")
	f.StringVar(&o.keys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}

type debugOptions struct {
	image, pull, user, workdir, keys string
	env                              []string
	quiet, privileged, plain, trust  bool
}

func (a *app) debugContainer(ctx context.Context, c *client.Client, ref string, command []string, o debugOptions) error {
	fail := func(err error) error { return &exitError{code: 125, err: err} }
	target, err := c.Containers().Inspect(ctx, ref)
	if err != nil {
		return fail(err)
	}
	if target.State.Restarting {
		return fail(invalid("container %s is restarting: wait until it runs, or stop it first", ref))
	}
	if _, err := terminal.ParseKeys(o.keys); err != nil {
		return fail(err)
	}
	env, err := request.Variables(nil, o.env, a.env)
	if err != nil {
		return fail(err)
	}
	name := strings.TrimPrefix(target.Name, "/")
	if len(command) == 0 {
		command = []string{"sh"}
	}
	_, in := terminal.Of(a.In)
	_, out := terminal.Of(a.Out)
	tty := in && out && !o.plain
	r := container.CreateRequest{
		Config: &container.Config{
			Image: o.image, Entrypoint: []string{}, Cmd: command, User: o.user, WorkingDir: o.workdir, Labels: map[string]string{toolbox.Label: target.ID},
			Env: append([]string{"PIER_DEBUG=" + name, "PS1=[debug " + name + "] \\w \\$ "}, env...),
			Tty: tty, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		},
		HostConfig: &container.HostConfig{AutoRemove: true, Privileged: o.privileged, LogConfig: container.LogConfig{Type: "none"}},
	}
	// The command stands alone: an entrypoint of the image would get it as arguments.
	r.Entrypoint, r.Cmd = command[:1], command[1:]
	if tty {
		r.HostConfig.ConsoleSize = terminal.Size(a.Out)
	}
	if target.State.Running {
		if !o.trust {
			if err := toolbox.MayEnter(ctx, c, &target, o.image); err != nil {
				return fail(err)
			}
		}
		toolbox.Join(r.HostConfig, &target)
	} else {
		r.HostConfig.Mounts = toolbox.Volumes(&target)
		if image, err := toolbox.Snapshot(ctx, c, &target); err != nil {
			return fail(err)
		} else if image != "" {
			// What a killed pier leaves behind has no name, and goes with `pier image prune`.
			defer func() { _, _ = c.Images().Remove(context.WithoutCancel(ctx), image, false, true) }()
			r.HostConfig.Mounts = append(r.HostConfig.Mounts, mount.Mount{Type: mount.TypeImage, Source: image, Target: toolbox.Files, ReadOnly: true})
		}
	}
	created, err := a.createPulling(ctx, c, pulling{when: o.pull, quiet: o.quiet}, r)
	if err != nil {
		return fail(err)
	}
	mounted := slices.ContainsFunc(r.HostConfig.Mounts, func(m mount.Mount) bool { return m.Type == mount.TypeImage })
	note, err := toolbox.ShowFiles(ctx, c, created.ID, &target, mounted)
	if err != nil {
		_ = c.Containers().Remove(context.WithoutCancel(ctx), created.ID, true, true) // it never ran; the error says why
		return fail(err)
	}
	if tty && !o.quiet {
		a.warnf("A toolbox of %s in %s: %s. Its end (ctrl-d) removes it.", o.image, name, note)
	}
	streams := client.AttachOptions{Stdin: true, Stdout: true, Stderr: true, DetachKeys: o.keys}
	return a.followContainer(ctx, c, follow{id: created.ID, tty: tty, streams: streams, condition: container.WaitConditionRemoved, sigProxy: !tty, start: true})
}
