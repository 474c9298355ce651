package request

import (
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// Limits are the flags of `update`: those limits of Container that may change while it runs.
type Limits struct{ c Container }

// Register adds the flags to s.
func (l *Limits) Register(s *pflag.FlagSet) {
	l.c.set, l.c.memorySwappiness = s, -1
	l.c.limits(s)
	s.StringVar(&l.c.restart, "restart", "", "Restart policy to apply when a container exits")
}

// Request turns the flags into what the API takes. What is not set stays as it is.
func (l *Limits) Request() (container.UpdateConfig, error) {
	var host container.HostConfig
	if err := l.c.resources(&host); err != nil {
		return container.UpdateConfig{}, err
	}
	u := container.UpdateConfig{Resources: host.Resources}
	if l.c.restart == "" {
		return u, nil
	}
	var err error
	u.RestartPolicy, err = parseRestart(l.c.restart)
	return u, err
}

// limits adds the flags for what the cgroup bounds and may bound otherwise later.
func (f *Container) limits(s *pflag.FlagSet) {
	s.VarP(&text{&f.memory, "bytes"}, "memory", "m", "Memory limit")
	s.VarP(&text{&f.memorySwap, "bytes"}, "memory-swap", "", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	s.VarP(&text{&f.memoryReservation, "bytes"}, "memory-reservation", "", "Memory soft limit")
	s.VarP(&text{&f.cpus, "decimal"}, "cpus", "", "Number of CPUs")
	s.Int64VarP(&f.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	s.Int64Var(&f.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	s.Int64Var(&f.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	s.Int64Var(&f.cpuRTPeriod, "cpu-rt-period", 0, "Limit CPU real-time period in microseconds")
	s.Int64Var(&f.cpuRTRuntime, "cpu-rt-runtime", 0, "Limit CPU real-time runtime in microseconds")
	s.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	s.StringVar(&f.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	s.Int64Var(&f.pidsLimit, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	s.Uint16Var(&f.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
}
