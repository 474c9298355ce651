package request

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"pier/api/docker"
)

// Limits are the flags of `update`: those settings of Container that may change while it runs.
type Limits struct {
	c                         Container
	publishAdd, publishRemove []string
}

// Register adds the flags to s.
func (l *Limits) Register(s *pflag.FlagSet) {
	l.c.set, l.c.memorySwappiness = s, -1
	l.c.limits(s)
	s.StringVar(&l.c.restart, "restart", "", "Restart policy to apply when a container exits")
	s.Var(Strings(&l.publishAdd), "publish-add", "Publish one more port, as --publish of run does")
	s.Var(Strings(&l.publishRemove), "publish-rm", "End the publication of a port ([[IP:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL])")
}

// Request turns the flags into what the API takes. What is not set stays as it is.
func (l *Limits) Request() (u docker.Update, err error) {
	var host container.HostConfig
	if err := l.c.resources(&host); err != nil {
		return u, err
	}
	u.Resources = host.Resources
	if l.c.restart != "" {
		if u.RestartPolicy, err = parseRestart(l.c.restart); err != nil {
			return u, err
		}
	}
	if u.PierPublishAdd, err = portMap(l.publishAdd); err != nil {
		return u, err
	}
	u.PierPublishRemove, err = portMap(l.publishRemove)
	return u, err
}

// portMap reads what parsePublish does, several times; nil for none.
func portMap(specs []string) (m network.PortMap, err error) {
	for _, spec := range specs {
		list, err := parsePublish(spec)
		if err != nil {
			return nil, err
		}
		if m == nil {
			m = network.PortMap{}
		}
		for _, p := range list {
			m[p.port] = append(m[p.port], p.binding)
		}
	}
	return m, nil
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
