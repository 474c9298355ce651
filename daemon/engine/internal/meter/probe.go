package meter

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/kernel/cgroup"
	"pier/kernel/link"
	"pier/kernel/pidfd"
)

// probe holds what is needed to measure one run of a container. nil measures nothing.
type probe struct {
	cgroup  *cgroup.Meter
	network *link.Meter // nil: the container has no network of its own
	traffic map[string]container.NetworkStats
}

// openProbe returns nil for a target that cannot be measured: it does not run, or has just ended.
// keep has it hold files open, which makes a reading cheaper.
func openProbe(t Target, keep bool) *probe {
	if t.Pid == 0 {
		return nil
	}
	cg, err := cgroup.Open(t.Cgroup)
	if err != nil {
		return nil
	}
	p := &probe{cgroup: cg.Meter(keep)}
	if t.Network {
		p.network = openNetwork(t)
	}
	return p
}

// openNetwork is nil where the process has ended.
func openNetwork(t Target) *link.Meter {
	m, err := link.OpenMeter(t.Pid)
	if err != nil {
		return nil
	}
	// Looked at after the process was opened: so it is this one, and no other that has got the number.
	if began, err := pidfd.StartTime(t.Pid); err != nil || t.StartTime != 0 && began != t.StartTime {
		_ = m.Close()
		return nil
	}
	return m
}

func (p *probe) close() {
	if p == nil {
		return
	}
	_ = p.cgroup.Close()
	if p.network != nil {
		_ = p.network.Close()
		p.network = nil
	}
}

// read fills in all that belongs to the container alone.
func (p *probe) read(s *container.StatsResponse) error {
	u, err := p.cgroup.Measure()
	if err != nil {
		return err
	}
	s.Read = time.Now().UTC()
	s.CPUStats = container.CPUStats{
		CPUUsage: container.CPUUsage{TotalUsage: u.CPU.Total, PercpuUsage: u.CPU.PerCPU, UsageInKernelmode: u.CPU.Kernel, UsageInUsermode: u.CPU.User},
		ThrottlingData: container.ThrottlingData{
			Periods: u.CPU.Periods, ThrottledPeriods: u.CPU.Throttled, ThrottledTime: u.CPU.ThrottledTime,
		},
	}
	s.MemoryStats = container.MemoryStats{
		Usage: u.Memory.Usage, MaxUsage: u.Memory.MaxUsage, Stats: u.Memory.Stat, Failcnt: u.Memory.Failures, Limit: u.Memory.Limit,
	}
	s.PidsStats = container.PidsStats{Current: u.Processes, Limit: u.ProcessLimit}
	s.BlkioStats = container.BlkioStats{IoServiceBytesRecursive: entries(u.IO.Bytes), IoServicedRecursive: entries(u.IO.Operations)}
	if p.network == nil {
		return nil
	}
	traffic, changed, err := p.network.Read()
	if err != nil || len(traffic) == 0 {
		return nil // its first process is ending: the rest is right all the same
	}
	if changed {
		p.traffic = make(map[string]container.NetworkStats, len(traffic))
		for name, t := range traffic {
			p.traffic[name] = container.NetworkStats{
				RxBytes: t.RxBytes, RxPackets: t.RxPackets, RxErrors: t.RxErrors, RxDropped: t.RxDropped,
				TxBytes: t.TxBytes, TxPackets: t.TxPackets, TxErrors: t.TxErrors, TxDropped: t.TxDropped,
			}
		}
	}
	s.Networks = p.traffic
	return nil
}

func entries(counts []cgroup.IOCount) []container.BlkioStatEntry {
	var out []container.BlkioStatEntry
	for _, c := range counts {
		out = append(out, container.BlkioStatEntry{Major: c.Major, Minor: c.Minor, Op: c.Op, Value: c.Value})
	}
	return out
}

// hostCPU is the time of all processors of the machine together, idle or not.
type hostCPU struct {
	used  uint64 // nanoseconds
	count uint32 // processors online
}

// tick is the unit of /proc/stat: the kernel tells hundredths of seconds on every architecture.
const tick = uint64(time.Second / 100)

func machineCPU() (h hostCPU) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return h
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 8 || !strings.HasPrefix(fields[0], "cpu"):
			return h
		case fields[0] != "cpu":
			h.count++
			continue
		}
		for _, field := range fields[1:8] { // user to softirq; guests are part of user
			n, _ := strconv.ParseUint(field, 10, 64)
			h.used += n * tick
		}
	}
	return h
}

// machineMemory returns the machine's memory in bytes, 0 where it is not known.
func machineMemory() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 4096))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
