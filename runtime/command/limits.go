package command

import (
	"strconv"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/lib/errkind"
)

func pauseCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "pause ID", Short: "Stop all processes of a container until resume", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := o.load(args[0])
			if err != nil {
				return err
			}
			if s := r.status(); s != specs.StateRunning && s != specs.StateCreated {
				return errkind.New(errkind.Conflict, "container not running or created: %s", s)
			}
			group, err := r.group()
			if err != nil {
				return err
			}
			if err := group.Freeze(); err != nil {
				return err
			}
			r.Paused = true
			return r.save()
		}}
}

func resumeCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "resume ID", Short: "Let the processes of a paused container go on", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := o.load(args[0])
			if err != nil {
				return err
			}
			if !r.Paused {
				return errkind.New(errkind.Conflict, "container not paused")
			}
			group, err := r.group()
			if err != nil {
				return err
			}
			if err := group.Thaw(); err != nil {
				return err
			}
			r.Paused = false
			return r.save()
		}}
}

// updateFlags name the limits that update takes one by one; each writes into the resources if it was given.
type updateFlag struct {
	name, use string
	set       func(r *specs.LinuxResources, value string) error
}

func memory(r *specs.LinuxResources) *specs.LinuxMemory {
	if r.Memory == nil {
		r.Memory = &specs.LinuxMemory{}
	}
	return r.Memory
}

func cpu(r *specs.LinuxResources) *specs.LinuxCPU {
	if r.CPU == nil {
		r.CPU = &specs.LinuxCPU{}
	}
	return r.CPU
}

func signed(to **int64, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	*to = &n
	return err
}

func unsigned(to **uint64, value string) error {
	n, err := strconv.ParseUint(value, 10, 64)
	*to = &n
	return err
}

// size reads a number of bytes, also with a unit (100m).
func size(to **int64, value string) error {
	if value == "-1" {
		return signed(to, value)
	}
	n, err := units.RAMInBytes(value)
	*to = &n
	return err
}

var updateFlags = []updateFlag{
	{"memory", "memory limit, as 500m", func(r *specs.LinuxResources, v string) error { return size(&memory(r).Limit, v) }},
	{"memory-reservation", "soft memory limit", func(r *specs.LinuxResources, v string) error { return size(&memory(r).Reservation, v) }},
	{"memory-swap", "limit of memory and swap; -1: none", func(r *specs.LinuxResources, v string) error { return size(&memory(r).Swap, v) }},
	{"cpu-period", "CPU period in microseconds", func(r *specs.LinuxResources, v string) error { return unsigned(&cpu(r).Period, v) }},
	{"cpu-quota", "CPU time in a period in microseconds", func(r *specs.LinuxResources, v string) error { return signed(&cpu(r).Quota, v) }},
	{"cpu-share", "CPU weight", func(r *specs.LinuxResources, v string) error { return unsigned(&cpu(r).Shares, v) }},
	{"cpu-burst", "CPU time that may be saved up for a burst in microseconds", func(r *specs.LinuxResources, v string) error { return unsigned(&cpu(r).Burst, v) }},
	{"cpu-idle", "1: run only when nobody else does (cgroup v2)", func(r *specs.LinuxResources, v string) error { return signed(&cpu(r).Idle, v) }},
	{"cpu-rt-period", "real-time period in microseconds (cgroup v1)", func(r *specs.LinuxResources, v string) error { return unsigned(&cpu(r).RealtimePeriod, v) }},
	{"cpu-rt-runtime", "real-time CPU time in a period in microseconds (cgroup v1)", func(r *specs.LinuxResources, v string) error { return signed(&cpu(r).RealtimeRuntime, v) }},
	{"l3-cache-schema", "not supported", noRdt},
	{"mem-bw-schema", "not supported", noRdt},
	{"cpuset-cpus", "CPUs, as 0-2,7", func(r *specs.LinuxResources, v string) error { cpu(r).Cpus = v; return nil }},
	{"cpuset-mems", "memory nodes", func(r *specs.LinuxResources, v string) error { cpu(r).Mems = v; return nil }},
	{"pids-limit", "largest number of processes", func(r *specs.LinuxResources, v string) error {
		r.Pids = &specs.LinuxPids{}
		return signed(&r.Pids.Limit, v)
	}},
	{"blkio-weight", "weight of block I/O, 10 to 1000", func(r *specs.LinuxResources, v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		w := uint16(n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
		return err
	}},
}

func noRdt(*specs.LinuxResources, string) error {
	return errkind.New(errkind.Unsupported, "Intel RDT is not supported")
}

func updateCommand(o *options) *cobra.Command {
	var file string
	values := make([]string, len(updateFlags))
	c := &cobra.Command{Use: "update ID", Short: "Change a container's resource limits", Args: cobra.ExactArgs(1)}
	c.Flags().StringVarP(&file, "resources", "r", "", "JSON file with the limits; - is standard input")
	for i, f := range updateFlags {
		c.Flags().StringVar(&values[i], f.name, "", f.use)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := o.load(args[0])
		if err != nil {
			return err
		}
		if r.status() == specs.StateStopped {
			return errkind.New(errkind.Conflict, "container %s has stopped", r.ID)
		}
		limits := &specs.LinuxResources{}
		if file != "" {
			if err := o.readDocument(file, limits); err != nil {
				return err
			}
		}
		for i, f := range updateFlags {
			if file == "" && c.Flags().Changed(f.name) {
				if err := f.set(limits, values[i]); err != nil {
					return errkind.New(errkind.Invalid, "--%s %q: %w", f.name, values[i], err)
				}
			}
		}
		group, err := r.group()
		if err != nil {
			return err
		}
		return group.Set(limits)
	}
	return c
}
