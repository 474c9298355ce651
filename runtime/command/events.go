package command

import (
	"context"
	"encoding/json"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/lib/errkind"
)

// event is one line of events, in runc's form.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func eventsCommand(o *options) *cobra.Command {
	var once bool
	var interval time.Duration
	c := &cobra.Command{Use: "events ID", Short: "Print statistics of a container, and when it runs out of memory", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.events(c.Context(), args[0], once, interval) }}
	c.Flags().BoolVar(&once, "stats", false, "print the statistics once and end")
	c.Flags().DurationVar(&interval, "interval", 5*time.Second, "time between statistics")
	return c
}

func (o *options) events(ctx context.Context, id string, once bool, interval time.Duration) error {
	if interval <= 0 {
		return errkind.New(errkind.Invalid, "--interval must be greater than 0")
	}
	r, err := o.load(id)
	if err != nil {
		return err
	}
	if r.status() == specs.StateStopped {
		return errkind.New(errkind.Conflict, "container with id %s is not running", id)
	}
	group, err := r.group()
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.stdout)
	killed, err := group.OOMKills()
	if err != nil {
		return err
	}
	for {
		stats, err := group.Stats()
		if err != nil {
			if r.status() == specs.StateStopped {
				return nil
			}
			return err
		}
		if err := encoder.Encode(event{"stats", id, figuresOf(stats)}); err != nil || once {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		if now, err := group.OOMKills(); err == nil && now > killed {
			killed = now
			if err := encoder.Encode(event{Type: "oom", ID: id}); err != nil {
				return err
			}
		}
		if r.status() == specs.StateStopped {
			return nil
		}
	}
}

// The statistics in the names and the nesting that readers of events know.
type figures struct {
	CPU      cpuFigures               `json:"cpu"`
	CPUSet   cgroups.CPUSetStats      `json:"cpuset"`
	Memory   memoryFigures            `json:"memory"`
	Pids     cgroups.PidsStats        `json:"pids"`
	BlockIO  blockFigures             `json:"blkio"`
	Hugetlb  map[string]hugetlbFigure `json:"hugetlb"`
	IntelRdt struct{}                 `json:"intel_rdt"`
	Networks []struct{}               `json:"network_interfaces"`
}

type cpuFigures struct {
	Usage struct {
		Total        uint64   `json:"total,omitempty"`
		Percpu       []uint64 `json:"percpu,omitempty"`
		PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
		PercpuUser   []uint64 `json:"percpu_user,omitempty"`
		Kernel       uint64   `json:"kernel"`
		User         uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling"`
}

type memoryFigure struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type memoryFigures struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryFigure      `json:"usage"`
	Swap      memoryFigure      `json:"swap"`
	Kernel    memoryFigure      `json:"kernel"`
	KernelTCP memoryFigure      `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
}

type blockFigure struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type blockFigures struct {
	ServiceBytes []blockFigure `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []blockFigure `json:"ioServicedRecursive,omitempty"`
	Queued       []blockFigure `json:"ioQueueRecursive,omitempty"`
	ServiceTime  []blockFigure `json:"ioServiceTimeRecursive,omitempty"`
	WaitTime     []blockFigure `json:"ioWaitTimeRecursive,omitempty"`
	Merged       []blockFigure `json:"ioMergedRecursive,omitempty"`
	Time         []blockFigure `json:"ioTimeRecursive,omitempty"`
	Sectors      []blockFigure `json:"sectorsRecursive,omitempty"`
}

type hugetlbFigure struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

func figure(m cgroups.MemoryData) memoryFigure {
	return memoryFigure{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func blocks(in []cgroups.BlkioStatEntry) []blockFigure {
	var out []blockFigure
	for _, e := range in {
		out = append(out, blockFigure(e))
	}
	return out
}

func figuresOf(s *cgroups.Stats) *figures {
	out := &figures{CPUSet: s.CPUSetStats, Pids: s.PidsStats, Hugetlb: map[string]hugetlbFigure{}}
	c, t, m, b := s.CpuStats.CpuUsage, s.CpuStats.ThrottlingData, &s.MemoryStats, &s.BlkioStats
	out.CPU.Usage.Total, out.CPU.Usage.Kernel, out.CPU.Usage.User = c.TotalUsage, c.UsageInKernelmode, c.UsageInUsermode
	out.CPU.Usage.Percpu, out.CPU.Usage.PercpuKernel, out.CPU.Usage.PercpuUser = c.PercpuUsage, c.PercpuUsageInKernelmode, c.PercpuUsageInUsermode
	out.CPU.Throttling.Periods, out.CPU.Throttling.ThrottledPeriods, out.CPU.Throttling.ThrottledTime = t.Periods, t.ThrottledPeriods, t.ThrottledTime
	out.Memory = memoryFigures{Cache: m.Cache, Usage: figure(m.Usage), Swap: figure(m.SwapUsage), Kernel: figure(m.KernelUsage),
		KernelTCP: figure(m.KernelTCPUsage), Raw: m.Stats}
	out.BlockIO = blockFigures{ServiceBytes: blocks(b.IoServiceBytesRecursive), Serviced: blocks(b.IoServicedRecursive),
		Queued: blocks(b.IoQueuedRecursive), ServiceTime: blocks(b.IoServiceTimeRecursive), WaitTime: blocks(b.IoWaitTimeRecursive),
		Merged: blocks(b.IoMergedRecursive), Time: blocks(b.IoTimeRecursive), Sectors: blocks(b.SectorsRecursive)}
	for size, h := range s.HugetlbStats {
		out.Hugetlb[size] = hugetlbFigure{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return out
}
