package command

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"pier/lib/errkind"
	"pier/runtime/criu"
	"pier/runtime/oci"
)

// restoreOptions are the flags of restore.
type restoreOptions struct {
	imageOptions
	makeOptions
	lsmProfile, lsmMount string
}

// stageDir is where in a container's folder criu is shown what it restores from.
const stageDir = "criu"

func restoreCommand(o *options) *cobra.Command {
	var r restoreOptions
	c := &cobra.Command{Use: "restore ID", Short: "Make a container of what checkpoint has saved", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.restore(c.Context(), args[0], &r) }}
	f := c.Flags()
	r.imageOptions.flags(f)
	f.StringVarP(&r.bundle, "bundle", "b", "", "path of the bundle (default: the working folder)")
	f.StringVar(&r.consoleSocket, "console-socket", "", "unix socket that takes the terminal's master")
	f.StringVar(&r.pidFile, "pid-file", "", "file to write the process's number to")
	f.BoolVarP(&r.detach, "detach", "d", false, "return when the container runs")
	f.Bool("no-subreaper", false, "accepted for compatibility")
	f.BoolVar(&r.noPivot, "no-pivot", false, "not supported: criu changes the root in its own way")
	f.StringVar(&r.lsmProfile, "lsm-profile", "", "security profile of the processes: apparmor:NAME or selinux:LABEL")
	f.StringVar(&r.lsmMount, "lsm-mount-context", "", "SELinux context of mounts, in place of the one that was saved")
	f.BoolVar(&r.TCPClose, "tcp-close", false, "restore TCP connections that were established as closed")
	return c
}

func (o *options) restore(ctx context.Context, id string, m *restoreOptions) error {
	c, err := o.restored(ctx, id, m)
	if err != nil {
		return err
	}
	if h := c.Spec.Hooks; h != nil {
		if err := oci.RunHooks(ctx, "poststart", h.Poststart, c.state()); err != nil {
			c.relay.close()
			return errors.Join(err, o.remove(ctx, c.record, true))
		}
	}
	if m.detach {
		return nil
	}
	return o.foreground(ctx, c, false)
}

// restored makes a container that runs. After an error nothing is left.
func (o *options) restored(ctx context.Context, id string, m *restoreOptions) (*made, error) {
	empty, err := m.check()
	if err != nil {
		return nil, err
	}
	if m.noPivot {
		return nil, errkind.New(errkind.Unsupported, "--no-pivot is not supported by restore: criu changes the root by pivot_root")
	}
	r, err := o.fromBundle(id, &m.makeOptions, !m.detach)
	if err != nil {
		return nil, err
	}
	return o.assemble(r, &m.makeOptions, !m.detach, func(c *oci.Container) (*oci.Prepared, error) {
		images, work, err := m.open(false)
		if err != nil {
			return nil, err
		}
		defer images.Close()
		defer work.Close()
		if err := r.save(); err != nil { // who kills us leaves something that delete finds
			return nil, err
		}
		again := criu.Restore{Container: *c, Program: o.criu,
			Images: images, Work: work, Dir: filepath.Join(r.dir, stageDir), Allow: m.Allow, Config: criuConfig(r.Spec),
			LSMProfile: m.lsmProfile, LSMMount: m.lsmMount, EmptyNetwork: empty, AutoDedup: m.dedup, LazyPages: m.lazy, Parents: true}
		p, err := again.Do(ctx)
		if err != nil {
			return nil, err
		}
		return &oci.Prepared{Process: *p}, nil
	})
}
