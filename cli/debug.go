package cli

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
)

const (
	// debugImage has a shell and the usual commands in 2 MB.
	debugImage = "busybox"
	// debugLabel marks a toolbox; its value is the container that it looks into.
	debugLabel = "pier.debug"
	// debugRoot is where the files of the container are in its toolbox.
	debugRoot = "/container"
	// debugVolumes is where the volumes of one that does not run are.
	debugVolumes = "/volumes"
	// imageMounts is the API version 1.x since which an image can be mounted.
	imageMounts = 48
)

func newDebug(a *app) *cobra.Command {
	var o debugOptions
	cmd := &cobra.Command{
		Use: "debug [OPTIONS] CONTAINER [COMMAND] [ARG...]", Short: "Look into a container with the tools of another image", Args: minArgs(1),
		Long: "Look into a container with the tools of another image.\n\n" +
			"The toolbox is a container of its own that shares the processes, the network and the host name of CONTAINER,\n" +
			"whose files are at " + debugRoot + " in it. Nothing is added to CONTAINER or to its image, which needs no shell.\n" +
			"Where CONTAINER does not run, they are for reading, and its volumes are below " + debugVolumes + ".\n" +
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
	f.BoolVar(&o.trust, "trust", false, "Enter a container that may trace other processes (SYS_PTRACE)")
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
	env, err := request.Pairs(nil, o.env, a.env, true)
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
			Image: o.image, Entrypoint: []string{}, Cmd: command, User: o.user, WorkingDir: o.workdir, Labels: map[string]string{debugLabel: target.ID},
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
		if err := a.mayEnter(ctx, c, &target, o.trust); err != nil {
			return fail(err)
		}
		joinTarget(r.HostConfig, &target)
	} else {
		r.HostConfig.Mounts = showVolumes(&target)
		if image, err := snapshot(ctx, c, &target); err != nil {
			return fail(err)
		} else if image != "" {
			// What a killed pier leaves behind has no name, and goes with `pier image prune`.
			defer func() { _, _ = c.Images().Remove(context.WithoutCancel(ctx), image, false, true) }()
			r.HostConfig.Mounts = append(r.HostConfig.Mounts, mount.Mount{Type: mount.TypeImage, Source: image, Target: debugRoot, ReadOnly: true})
		}
	}
	created, err := a.createPulling(ctx, c, pulling{when: o.pull, quiet: o.quiet}, r)
	if err != nil {
		return fail(err)
	}
	mounted := slices.ContainsFunc(r.HostConfig.Mounts, func(m mount.Mount) bool { return m.Type == mount.TypeImage })
	note, err := a.showFiles(ctx, c, created.ID, &target, mounted)
	if err != nil {
		_ = c.Containers().Remove(context.WithoutCancel(ctx), created.ID, true, true) // it never ran; the error says why
		return fail(err)
	}
	if tty && !o.quiet {
		a.warnf("A toolbox of %s in %s: %s. Its end (ctrl-d) removes it.", o.image, name, note)
	}
	streams := client.AttachOptions{Stdin: true, Stdout: true, Stderr: true, DetachKeys: o.keys}
	return a.followContainer(context.WithoutCancel(ctx), c, follow{id: created.ID, tty: tty, streams: streams, condition: container.WaitConditionRemoved, sigProxy: !tty, start: true})
}

// mayEnter refuses a container whose processes may trace others, unless the user trusts it: the runtime makes the first
// process of the toolbox in the namespace that they see, and could be taken over at that moment. One that is privileged
// needs no such detour.
func (a *app) mayEnter(ctx context.Context, c *client.Client, target *container.InspectResponse, trusted bool) error {
	owner := *target
	if target.HostConfig.PidMode.IsContainer() {
		var err error
		if owner, err = c.Containers().Inspect(ctx, target.HostConfig.PidMode.Container()); err != nil {
			return err
		}
	}
	for _, t := range []*container.InspectResponse{target, &owner} {
		if !trusted && !t.HostConfig.Privileged && holds(t.HostConfig, "SYS_PTRACE") {
			return invalid("container %s may trace other processes (SYS_PTRACE) and could take over what enters it: use --trust if you trust it, or pier exec", strings.TrimPrefix(t.Name, "/"))
		}
	}
	return nil
}

// holds reports whether a container was given a capability that is not among the usual ones.
func holds(h *container.HostConfig, capability string) bool {
	named := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(c string) bool { return strings.TrimPrefix(strings.ToUpper(c), "CAP_") == name })
	}
	return named(h.CapAdd, capability) || named(h.CapAdd, "ALL") && !named(h.CapDrop, capability)
}

// joinTarget puts a toolbox into the namespaces of a container. SYS_PTRACE is what it takes to look at processes of other
// users, and at a root through /proc; it also keeps the container, which does not have it, from looking at the toolbox.
// An IPC namespace can only be joined where its container offers it.
func joinTarget(h *container.HostConfig, target *container.InspectResponse) {
	with := "container:" + target.ID
	h.PidMode, h.NetworkMode = container.PidMode(with), container.NetworkMode(with)
	if m := target.HostConfig.IpcMode; m.IsShareable() || m.IsHost() {
		h.IpcMode = container.IpcMode(with)
	}
	h.CapAdd = []string{"SYS_PTRACE"}
}

// showVolumes mounts the volumes of a container for reading.
func showVolumes(target *container.InspectResponse) []mount.Mount {
	var list []mount.Mount
	for _, m := range target.Mounts {
		if m.Type == mount.TypeVolume {
			list = append(list, mount.Mount{Type: m.Type, Source: m.Name, Target: path.Join(debugVolumes, path.Join("/", m.Destination)), ReadOnly: true,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true}})
		}
	}
	return list
}

// snapshot makes an image of what a container changed, to be mounted: its files for reading, without copying what they have
// in common with its own image. It is "" where the daemon mounts no images.
func snapshot(ctx context.Context, c *client.Client, target *container.InspectResponse) (string, error) {
	_, minor, _ := strings.Cut(c.Version(), ".")
	if n, err := strconv.Atoi(minor); err != nil || n < imageMounts {
		return "", nil
	}
	return c.Files().Commit(ctx, target.ID, client.CommitOptions{Comment: "what pier debug looks at"})
}

// showFiles puts the files of a container at debugRoot of its toolbox, and says in words where they are. Of one that runs
// it is a link to the root of its first process; of another an image that is mounted there, or else a copy.
func (a *app) showFiles(ctx context.Context, c *client.Client, toolbox string, target *container.InspectResponse, mounted bool) (string, error) {
	switch {
	case target.State.Running:
	case mounted:
		return "it does not run; its files are at " + debugRoot + ", its volumes below " + debugVolumes + ", all for reading", nil
	default:
		if err := a.put(ctx, c, toolbox, &tar.Header{Name: debugRoot[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return "", err
		}
		files, err := c.Files().Export(ctx, target.ID)
		if err != nil {
			return "", err
		}
		defer files.Close()
		return "it does not run; a copy of its files is at " + debugRoot + ", its volumes are below " + debugVolumes, c.Files().Write(ctx, toolbox, debugRoot, files, false)
	}
	pid := 1
	switch {
	case target.HostConfig.PidMode.IsHost():
		pid = target.State.Pid
	case target.HostConfig.PidMode.IsContainer():
		return "its files are at /proc/PID/root of one of its processes", nil
	}
	root := "/proc/" + strconv.Itoa(pid) + "/root"
	return "its files are at " + debugRoot, a.put(ctx, c, toolbox, &tar.Header{Name: debugRoot[1:], Typeflag: tar.TypeSymlink, Linkname: root, Mode: 0o777})
}

// put makes one entry without content in the root of a container.
func (a *app) put(ctx context.Context, c *client.Client, ref string, h *tar.Header) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := c.Files().Write(ctx, ref, "/", &archive, false); err != nil {
		return fmt.Errorf("make %s in the toolbox: %w", debugRoot, err)
	}
	return nil
}
