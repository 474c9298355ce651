package request

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

// Build are the flags of `build`. The exported ones do not end in the request alone, or not at all.
type Build struct {
	File     string // the Dockerfile, "" for the usual one, "-" for standard input
	Tags     []string
	IIDFile  string
	Progress string // auto, plain or tty
	Quiet    bool
	Compress bool

	target, platform, network, cgroupParent             string
	memory, memorySwap, shmSize, cpusetCPUs, cpusetMems string
	args, labels, addHosts, cacheFrom, ulimits          []string
	noCache, pull, rm, forceRm                          bool
	cpuShares, cpuPeriod, cpuQuota                      int64
	isolation                                           string
	securityOpts                                        []string
	squash                                              bool
}

// Register adds the flags to s.
func (f *Build) Register(s *pflag.FlagSet) {
	s.StringVarP(&f.File, "file", "f", "", `Name of the Dockerfile (default: "PATH/Dockerfile"; "-" reads it from stdin)`)
	s.VarP(&tags{(*words)(&f.Tags)}, "tag", "t", `Name and optionally a tag in the "name:tag" format`)
	s.VarP(List(&f.args), "build-arg", "", "Set build-time variables")
	s.VarP(List(&f.labels), "label", "", "Set metadata for an image")
	s.StringVar(&f.target, "target", "", "Set the target build stage to build")
	s.BoolVar(&f.noCache, "no-cache", false, "Do not use cache when building the image")
	s.BoolVar(&f.pull, "pull", false, "Always attempt to pull a newer version of the image")
	s.BoolVarP(&f.Quiet, "quiet", "q", false, "Suppress the build output and print image ID on success")
	s.StringVar(&f.Progress, "progress", "auto", `Type of progress output ("auto", "plain", "tty")`)
	s.StringVar(&f.platform, "platform", "", "Set platform if server is multi-platform capable")
	s.StringVar(&f.network, "network", "default", "Set the networking mode for the RUN instructions during build")
	s.VarP(List(&f.addHosts), "add-host", "", `Add a custom host-to-IP mapping ("host:ip")`)
	s.StringVar(&f.IIDFile, "iidfile", "", "Write the image ID to the file")
	s.VarP(Strings(&f.cacheFrom), "cache-from", "", "Images to consider as cache sources")
	s.VarP(&text{&f.memory, "bytes"}, "memory", "m", "Memory limit")
	s.VarP(&text{&f.memorySwap, "bytes"}, "memory-swap", "", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	s.VarP(&text{&f.shmSize, "bytes"}, "shm-size", "", `Size of "/dev/shm"`)
	s.Int64VarP(&f.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	s.Int64Var(&f.cpuPeriod, "cpu-period", 0, "Limit the CPU CFS (Completely Fair Scheduler) period")
	s.Int64Var(&f.cpuQuota, "cpu-quota", 0, "Limit the CPU CFS (Completely Fair Scheduler) quota")
	s.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	s.StringVar(&f.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	s.StringVar(&f.cgroupParent, "cgroup-parent", "", "Set the parent cgroup for the RUN instructions during build")
	s.VarP(ListOf("ulimit", &f.ulimits), "ulimit", "", "Ulimit options")
	s.BoolVar(&f.rm, "rm", true, "Remove intermediate containers after a successful build")
	s.BoolVar(&f.forceRm, "force-rm", false, "Always remove intermediate containers")
	s.BoolVar(&f.Compress, "compress", false, "Compress the build context using gzip")
	s.BoolVar(&f.squash, "squash", false, "Squash newly built layers into a single new layer")
	s.VarP(Strings(&f.securityOpts), "security-opt", "", "Security options")
	s.StringVar(&f.isolation, "isolation", "", "Container isolation technology")
	s.Bool("disable-content-trust", true, "Skip image verification (there is none)")
	for _, hidden := range []string{"isolation", "disable-content-trust"} {
		s.Lookup(hidden).Hidden = true
	}
}

// Query turns the flags into the parameters of POST /build.
func (f *Build) Query(env func(string) string) (url.Values, error) {
	q := url.Values{"t": f.Tags}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	object := func(key string, value any) {
		data, _ := json.Marshal(value) // strings, maps and slices of them always encode
		q.Set(key, string(data))
	}
	if len(f.args) > 0 {
		args := map[string]*string{}
		for _, pair := range f.args {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				value = env(key)
				ok = value != ""
			}
			args[key] = nil
			if ok {
				args[key] = &value
			}
		}
		object("buildargs", args)
	}
	if len(f.labels) > 0 {
		object("labels", Map(f.labels))
	}
	if len(f.cacheFrom) > 0 {
		object("cachefrom", f.cacheFrom)
	}
	if len(f.ulimits) > 0 {
		var limits []*units.Ulimit
		for _, u := range f.ulimits {
			limit, err := units.ParseUlimit(u)
			if err != nil {
				return nil, invalid("invalid argument %q for --ulimit: %w", u, err)
			}
			limits = append(limits, limit)
		}
		object("ulimits", limits)
	}
	if len(f.securityOpts) > 0 {
		return nil, invalid("--security-opt is not supported: RUN steps have the default filter and no more rights than containers")
	}
	if f.isolation != "" && f.isolation != "default" {
		return nil, invalid("invalid isolation %q on linux: use default", f.isolation)
	}
	for _, size := range []struct{ key, flag, value string }{{"memory", "memory", f.memory}, {"memswap", "memory-swap", f.memorySwap}, {"shmsize", "shm-size", f.shmSize}} {
		if size.value == "-1" {
			q.Set(size.key, "-1")
			continue
		}
		n, err := byteCount(size.flag, size.value)
		if err != nil {
			return nil, err
		}
		if n != 0 {
			q.Set(size.key, strconv.FormatInt(n, 10))
		}
	}
	for key, n := range map[string]int64{"cpushares": f.cpuShares, "cpuperiod": f.cpuPeriod, "cpuquota": f.cpuQuota} {
		if n != 0 {
			q.Set(key, strconv.FormatInt(n, 10))
		}
	}
	for key, on := range map[string]bool{"nocache": f.noCache, "pull": f.pull, "q": f.Quiet, "squash": f.squash, "rm": f.rm, "forcerm": f.forceRm} {
		if on {
			q.Set(key, "1")
		}
	}
	set("target", f.target)
	set("platform", f.platform)
	set("networkmode", f.network)
	set("cpusetcpus", f.cpusetCPUs)
	set("cpusetmems", f.cpusetMems)
	set("cgroupparent", f.cgroupParent)
	hosts, err := extraHosts(f.addHosts)
	if err != nil {
		return nil, err
	}
	if len(hosts) > 0 {
		q["extrahosts"] = hosts
	}
	return q, nil
}
