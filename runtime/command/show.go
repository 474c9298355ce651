package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/lib/errkind"
)

// shown is one container as state and list print it: the specification's state, and what runc adds to it.
type shown struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func (r *record) show() shown {
	s := r.state()
	out := shown{Version: s.Version, ID: s.ID, Pid: s.Pid, Status: s.Status, Bundle: s.Bundle, Created: r.Created, Annotations: s.Annotations}
	if r.Spec.Root != nil {
		out.Rootfs = r.Spec.Root.Path
		if !filepath.IsAbs(out.Rootfs) {
			out.Rootfs = filepath.Join(r.Bundle, out.Rootfs)
		}
	}
	return out
}

func stateCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "state ID", Short: "Print the state of a container", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := o.load(args[0])
			if err != nil {
				return err
			}
			return o.printJSON(r.show())
		}}
}

func listCommand(o *options) *cobra.Command {
	var format string
	var quiet bool
	c := &cobra.Command{Use: "list", Short: "List the containers of --root", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		entries, err := os.ReadDir(o.root)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		all := []shown{}
		for _, e := range entries {
			if r, err := o.load(e.Name()); err == nil { // one that is being made or removed is passed over
				s := r.show()
				s.Owner = "root" // who else could have made it?
				all = append(all, s)
			}
		}
		switch {
		case quiet:
			for _, s := range all {
				fmt.Fprintln(o.stdout, s.ID)
			}
			return nil
		case format == "json":
			return json.NewEncoder(o.stdout).Encode(all)
		case format != "table":
			return errkind.New(errkind.Invalid, "--format %q: want table or json", format)
		}
		w := tabwriter.NewWriter(o.stdout, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, s := range all {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
		}
		return w.Flush()
	}}
	c.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "only the ids")
	return c
}

func psCommand(o *options) *cobra.Command {
	var format string
	c := &cobra.Command{Use: "ps ID [PS-OPTION...]", Short: "Show the processes of a container", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.ps(c.Context(), args[0], args[1:], format) }}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	return c
}

func (o *options) ps(ctx context.Context, id string, args []string, format string) error {
	if format != "table" && format != "json" {
		return errkind.New(errkind.Invalid, "--format %q: want table or json", format)
	}
	r, err := o.load(id)
	if err != nil {
		return err
	}
	group, err := r.group()
	if err != nil {
		return err
	}
	pids, err := group.Procs()
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(o.stdout).Encode(append([]int{}, pids...))
	}
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.CommandContext(ctx, "ps", args...).Output()
	if err != nil {
		return fmt.Errorf("ps %s: %w", strings.Join(args, " "), err)
	}
	return printProcesses(o, string(out), pids)
}

// printProcesses prints the lines of ps's table that belong to pids.
func printProcesses(o *options, table string, pids []int) error {
	lines := strings.Split(strings.TrimRight(table, "\n"), "\n")
	column := -1
	for i, title := range strings.Fields(lines[0]) {
		if title == "PID" {
			column = i
		}
	}
	if column < 0 {
		return errkind.New(errkind.Invalid, "the ps options show no column PID")
	}
	wanted := make(map[string]bool, len(pids))
	for _, pid := range pids {
		wanted[strconv.Itoa(pid)] = true
	}
	fmt.Fprintln(o.stdout, lines[0])
	for _, line := range lines[1:] {
		if f := strings.Fields(line); len(f) > column && wanted[f[column]] {
			fmt.Fprintln(o.stdout, line)
		}
	}
	return nil
}
