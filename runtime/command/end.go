package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/signal"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/runtime/criu"
	"pier/runtime/oci"
)

func killCommand(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "kill ID [SIGNAL]", Short: "Send a signal to a container's first process (default: SIGTERM)", Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "SIGTERM"
			if len(args) > 1 {
				name = args[1]
			}
			return o.kill(args[0], name, all)
		}}
	c.Flags().BoolVarP(&all, "all", "a", false, "to all processes of the container")
	return c
}

func (o *options) kill(id, name string, all bool) error {
	number, err := signal.ParseSignal(name)
	if name == "0" { // asks whether there is a process
		number, err = 0, nil
	}
	if err != nil {
		return errkind.New(errkind.Invalid, "unknown signal %q", name)
	}
	r, err := o.load(id)
	if err != nil {
		return err
	}
	if all {
		return r.signalAll(int(number))
	}
	if r.status() == specs.StateStopped {
		return errkind.New(errkind.Conflict, "container not running")
	}
	f, err := r.open()
	if err != nil {
		return errkind.New(errkind.Conflict, "container not running")
	}
	defer f.Close()
	return pidfd.Signal(f, int(number))
}

// signalAll reaches every process of the cgroup. It stands still meanwhile, so that none is missed.
func (r *record) signalAll(number int) error {
	group, err := r.group()
	if err != nil {
		return err
	}
	if sigkill := 9; number == sigkill {
		return group.Kill()
	}
	if !r.Paused {
		if err := group.Freeze(); err != nil {
			return err
		}
		defer func() { _ = group.Thaw() }()
	}
	return cgroup.Signal(group, number)
}

func deleteCommand(o *options) *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "delete ID...", Short: "Remove containers that have stopped", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var errs []error
			for _, id := range args {
				r, err := o.load(id)
				if errkind.Is(err, errkind.NotFound) && force {
					err = o.removeRemains(id)
				} else if err == nil {
					err = o.remove(c.Context(), r, force)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}}
	c.Flags().BoolVarP(&force, "force", "f", false, "kill a container that runs; one that does not exist is no error")
	return c
}

// removeRemains takes away the folder of a create that was killed before it had written its record.
func (o *options) removeRemains(id string) error {
	dir, err := o.folder(id)
	if err != nil {
		return err
	}
	return clearFolder(dir)
}

// clearFolder removes a container's state folder: never while a restore that was killed still shows criu the root in it.
func clearFolder(dir string) error {
	if err := criu.Clear(filepath.Join(dir, stageDir)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// remove ends what is left of a container. One that was created but never started counts as stopped.
func (o *options) remove(ctx context.Context, r *record, force bool) error {
	s := r.status()
	if s != specs.StateStopped && s != specs.StateCreated && !force {
		return errkind.New(errkind.Conflict, "cannot delete container %s that is not stopped: %s", r.ID, s)
	}
	if err := r.kill(); err != nil {
		return err
	}
	group, err := r.group()
	if err == nil {
		// A pid namespace takes everybody with its first process; a container without one leaves others behind.
		if err := group.Kill(); err != nil {
			return err
		}
		if err := group.Delete(); err != nil {
			return err
		}
	} else if !errkind.Is(err, errkind.NotFound) {
		return err
	}
	if err := clearFolder(r.dir); err != nil {
		return err
	}
	if h := r.Spec.Hooks; h != nil {
		state := &specs.State{Version: specs.Version, ID: r.ID, Status: specs.StateStopped, Bundle: r.Bundle, Annotations: r.Spec.Annotations}
		for i := range h.Poststop { // one that fails does not keep back the others
			o.warn(oci.RunHooks(ctx, "poststop", h.Poststop[i:i+1], state))
		}
	}
	return nil
}

// kill ends the first process, which takes its pid namespace along, and waits until it is gone.
func (r *record) kill() error {
	f, err := r.open()
	if err != nil {
		return nil
	}
	defer f.Close()
	if r.Paused {
		if group, err := r.group(); err == nil {
			_ = group.Thaw() // a frozen process does not die on v1
		}
	}
	if err := pidfd.Signal(f, 9); err != nil && !errkind.Is(err, errkind.NotFound) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := pidfd.Wait(ctx, f); err != nil {
		return errkind.New(errkind.Timeout, "container %s: its process %d does not end after SIGKILL: %w", r.ID, r.Pid, err)
	}
	_, _ = pidfd.Reap(f) // ours only where run started it
	return nil
}
