package command

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pier/lib/errkind"
	"pier/runtime/criu"
)

// imageOptions are the flags that checkpoint and restore share.
type imageOptions struct {
	images, work string
	cgroups      string
	emptyNs      []string
	dedup, lazy  bool
	criu.Allow
}

func (i *imageOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&i.images, "image-path", "", "folder with the checkpoint (default: ./checkpoint)")
	f.StringVar(&i.work, "work-path", "", "folder for criu's log (default: that of the checkpoint)")
	f.BoolVar(&i.TCPEstablished, "tcp-established", false, "allow TCP connections that are established")
	f.BoolVar(&i.ExtUnix, "ext-unix-sk", false, "allow unix sockets that are connected to others outside")
	f.BoolVar(&i.ShellJob, "shell-job", false, "allow a terminal that is not the container's own")
	f.BoolVar(&i.FileLocks, "file-locks", false, "allow locks on files")
	f.StringVar(&i.cgroups, "manage-cgroups-mode", "soft", "soft or ignore: the container's own cgroup, with the limits of its configuration")
	f.StringSliceVar(&i.emptyNs, "empty-ns", nil, "leave out what is in a namespace: network")
	f.BoolVar(&i.dedup, "auto-dedup", false, "free what is in another checkpoint, or was restored")
	f.BoolVar(&i.lazy, "lazy-pages", false, "hand over memory when it is used")
}

// check refuses what criu is not asked to do here, by the name of the flag.
func (i *imageOptions) check() (emptyNetwork bool, err error) {
	switch i.cgroups {
	case "soft", "ignore":
	case "full", "strict":
		return false, errkind.New(errkind.Unsupported, "--manage-cgroups-mode %s is not supported: the limits are those of the configuration, not those in the checkpoint", i.cgroups)
	default:
		return false, errkind.New(errkind.Invalid, "--manage-cgroups-mode %q: want soft, ignore, full or strict", i.cgroups)
	}
	for _, ns := range i.emptyNs {
		if ns != "network" {
			return false, errkind.New(errkind.Unsupported, "--empty-ns %s is not supported: only network", ns)
		}
		emptyNetwork = true
	}
	return emptyNetwork, nil
}

// open opens the folders of checkpoint and log, which may be one; the caller closes both. They are made if make is set.
func (i *imageOptions) open(mayMake bool) (images, work *os.File, err error) {
	if i.images == "" {
		i.images = "checkpoint"
	}
	if i.work == "" {
		i.work = i.images
	}
	folder := func(name string) (*os.File, error) {
		name, err := filepath.Abs(name) // errors tell it, and the log's
		if err != nil {
			return nil, err
		}
		if mayMake {
			if err := os.Mkdir(name, 0o700); err != nil && !os.IsExist(err) {
				return nil, err
			}
		}
		return os.Open(name)
	}
	if images, err = folder(i.images); err != nil {
		return nil, nil, err
	}
	mayMake = true
	if work, err = folder(i.work); err != nil {
		images.Close()
		return nil, nil, err
	}
	return images, work, nil
}

// dumpOptions are the flags of checkpoint.
type dumpOptions struct {
	imageOptions
	parent, server string
	leave, before  bool
	status         int
}

func checkpointCommand(o *options) *cobra.Command {
	var d dumpOptions
	c := &cobra.Command{Use: "checkpoint ID", Short: "Save the processes of a container that runs, and end them", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.checkpoint(c.Context(), args[0], &d) }}
	f := c.Flags()
	d.flags(f)
	f.StringVar(&d.parent, "parent-path", "", "folder of the checkpoint before, relative to the new one: what has not changed stays there")
	f.StringVar(&d.server, "page-server", "", "ADDRESS:PORT of criu page-server, which gets the content of memory")
	f.BoolVar(&d.leave, "leave-running", false, "let the container go on")
	f.BoolVar(&d.before, "pre-dump", false, "save memory alone, and let the container go on: for a checkpoint with --parent-path that is quicker")
	f.BoolVar(&d.LinkRemap, "link-remap", false, "allow open files without a name, which get one meanwhile")
	f.BoolVar(&d.TCPSkip, "tcp-skip-in-flight", false, "leave out TCP connections that are not established yet")
	f.IntVar(&d.status, "status-fd", -1, "descriptor that gets a zero byte when --lazy-pages is ready")
	return c
}

func (o *options) checkpoint(ctx context.Context, id string, d *dumpOptions) error {
	empty, err := d.check()
	if err != nil {
		return err
	}
	server, err := pageServer(d.server)
	if err != nil {
		return err
	}
	if d.status >= 0 && !d.lazy {
		return errkind.New(errkind.Invalid, "--status-fd tells when --lazy-pages is ready, which is not given")
	}
	r, err := o.load(id)
	if err != nil {
		return err
	}
	if s := r.status(); s != specs.StateRunning && s != statusPaused {
		return errkind.New(errkind.Conflict, "container %s is %s: only one that runs can be saved", id, s)
	}
	group, err := r.group()
	if err != nil {
		return err
	}
	images, work, err := d.open(true)
	if err != nil {
		return err
	}
	defer images.Close()
	defer work.Close()
	dump := &criu.Dump{Program: o.criu, ID: id, Pid: r.Pid, StartTime: r.StartTime, Cgroup: group, Images: images, Work: work, Terminal: r.Spec.Process.Terminal,
		Network: joinsNetwork(r.Spec), EmptyNetwork: empty, Leave: d.leave, Allow: d.Allow, Config: criuConfig(r.Spec),
		Parent: d.parent, Before: d.before, AutoDedup: d.dedup, LazyPages: d.lazy, Server: server}
	if d.status >= 0 {
		dump.Status = os.NewFile(uintptr(d.status), "--status-fd")
	}
	if err := dump.Do(ctx); err != nil || d.leave || d.before {
		return err
	}
	// What was saved is gone from here. A cgroup that was frozen stays so, and has nobody in it.
	return o.remove(ctx, r, true)
}

// joinsNetwork reports whether a container's network namespace came from outside.
func joinsNetwork(s *specs.Spec) bool {
	return s.Linux != nil && slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace && n.Path != ""
	})
}

// criuConfig is the file with options for criu that a container asks for.
func criuConfig(s *specs.Spec) string { return s.Annotations["org.criu.config"] }

// pageServer reads ADDRESS:PORT; nil for nothing.
func pageServer(text string) (*criu.PageServer, error) {
	if text == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "--page-server %q: want ADDRESS:PORT: %w", text, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return nil, errkind.New(errkind.Invalid, "--page-server %q: want ADDRESS:PORT", text)
	}
	return &criu.PageServer{Address: host, Port: int(n)}, nil
}
