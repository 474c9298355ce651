package request

import (
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// seldom are the flags of `run` and `create` for other systems and other times.
type seldom struct {
	linkLocal                               []string
	noTrust, apiSocket                      bool
	cpuCount, cpuPercent                    int64
	ioMaxIOps                               uint64
	ioMaxBandwidth, isolation, kernelMemory string
}

func (f *seldom) register(s *pflag.FlagSet) {
	s.VarP(List(&f.linkLocal), "link-local-ip", "", "Container IPv4/IPv6 link-local addresses")
	s.StringVar(&f.isolation, "isolation", "", "Container isolation technology")
	s.Int64Var(&f.cpuCount, "cpu-count", 0, "CPU count (Windows only)")
	s.Int64Var(&f.cpuPercent, "cpu-percent", 0, "CPU percent (Windows only)")
	s.Uint64Var(&f.ioMaxIOps, "io-maxiops", 0, "Maximum IOps limit for the system drive (Windows only)")
	s.VarP(&text{&f.ioMaxBandwidth, "bytes"}, "io-maxbandwidth", "", "Maximum IO bandwidth limit for the system drive (Windows only)")
	s.VarP(&text{&f.kernelMemory, "bytes"}, "kernel-memory", "", "Kernel memory limit (gone from Linux)")
	s.BoolVar(&f.noTrust, "disable-content-trust", true, "Skip image verification (there is none)")
	s.BoolVar(&f.apiSocket, "use-api-socket", false, "Bind mount Docker API socket and required auth")
	for _, hidden := range []string{"isolation", "cpu-count", "cpu-percent", "io-maxiops", "io-maxbandwidth", "kernel-memory", "disable-content-trust", "use-api-socket"} {
		s.Lookup(hidden).Hidden = true
	}
}

// fill puts what the flags say into the request. The daemon refuses what is not for Linux.
func (f *seldom) fill(host *container.HostConfig) error {
	if f.kernelMemory != "" {
		return invalid("--kernel-memory is not supported: Linux has no such limit any more (since 5.16), memory of the kernel counts for --memory")
	}
	if !f.noTrust {
		return invalid("--disable-content-trust=false: signatures of Docker Content Trust are not supported; name the image by its digest")
	}
	if f.apiSocket {
		return invalid("--use-api-socket is not supported: it would give the container all of your credentials; bind the socket (-v SOCKET:/var/run/docker.sock) and what else it needs")
	}
	bandwidth, err := byteCount("io-maxbandwidth", f.ioMaxBandwidth)
	if err != nil {
		return err
	}
	host.Isolation = container.Isolation(f.isolation)
	host.CPUCount, host.CPUPercent, host.IOMaximumIOps, host.IOMaximumBandwidth = f.cpuCount, f.cpuPercent, f.ioMaxIOps, uint64(bandwidth)
	return nil
}
