package cgroup

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Usage is what a cgroup and all below it have used since it was made, and what they use now. A figure that the kernel
// or a missing controller does not give is zero.
type Usage struct {
	CPU    CPUUsage
	Memory MemoryUsage
	// Processes are the processes and threads there are, ProcessLimit how many there may be, 0 for no limit.
	Processes, ProcessLimit uint64
	IO                      IOUsage
}

// CPUUsage is in nanoseconds, but for the counts.
type CPUUsage struct {
	Total, Kernel, User uint64
	PerCPU              []uint64 // v1 only
	// Periods of the bandwidth limit that have passed, those in which it was reached, and the time lost by it.
	Periods, Throttled, ThrottledTime uint64
}

// MemoryUsage is in bytes, but for the counts.
type MemoryUsage struct {
	Usage    uint64
	MaxUsage uint64 // v1 only
	// Failures counts how often the limit was met (v1), or met in vain (v2).
	Failures uint64
	Limit    uint64            // math.MaxUint64, or near to it, for none
	Stat     map[string]uint64 // memory.stat, whose words differ between v1 and v2
}

// IOUsage are the transfers with block devices: bytes, and how many there were.
type IOUsage struct{ Bytes, Operations []IOCount }

// IOCount is one kind of transfer with one device.
type IOCount struct {
	Major, Minor uint64
	Op           string // "Read", "Write", "Sync", "Async", "Discard", "Total" on v1; "read", "write" on v2
	Value        uint64
}

// Measure reads what c uses. It reads far fewer files than Stats, for who asks every second for hundreds of cgroups. A
// cgroup that is gone is errkind.NotFound.
func (c *Cgroup) Measure() (Usage, error) {
	var u Usage
	r := reader{}
	if c.unified {
		r.unified(c.dirs[0], &u)
	} else {
		r.v1(c.byName, &u)
	}
	if r.err != nil {
		return u, r.err
	}
	if !r.found {
		return u, errkind.New(errkind.NotFound, "No such cgroup: %s", c.path)
	}
	return u, nil
}

// reader reads the files of one cgroup. A missing file is no error as long as there is one at all: controllers differ.
type reader struct {
	found bool
	err   error
}

// text is a file's content, "" where there is none.
func (r *reader) text(dir, file string) string {
	if dir == "" || r.err != nil {
		return ""
	}
	b, err := readFile(filepath.Join(dir, file))
	if err != nil {
		if !gone(err) {
			r.err = err
		}
		return ""
	}
	r.found = true
	return string(b)
}

// number is the only number of a file: 0 where there is none, math.MaxUint64 for "max".
func (r *reader) number(dir, file string) uint64 {
	return parseNumber(strings.TrimSpace(r.text(dir, file)))
}

func parseNumber(s string) uint64 {
	if s == "max" {
		return math.MaxUint64
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// pairs gives each "name number" line of a file to f.
func (r *reader) pairs(dir, file string, f func(name string, value uint64)) {
	for line := range strings.Lines(r.text(dir, file)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			f(name, parseNumber(value))
		}
	}
}

// table returns all pairs of a file.
func (r *reader) table(dir, file string) map[string]uint64 {
	out := make(map[string]uint64, 48)
	r.pairs(dir, file, func(name string, value uint64) { out[name] = value })
	return out
}

func (r *reader) v1(dirs map[string]string, u *Usage) {
	cpu := dirs["cpuacct"]
	u.CPU.Total = r.number(cpu, "cpuacct.usage")
	u.CPU.User = r.number(cpu, "cpuacct.usage_user")
	u.CPU.Kernel = r.number(cpu, "cpuacct.usage_sys")
	for _, n := range strings.Fields(r.text(cpu, "cpuacct.usage_percpu")) {
		u.CPU.PerCPU = append(u.CPU.PerCPU, parseNumber(n))
	}
	r.pairs(dirs["cpu"], "cpu.stat", func(name string, value uint64) {
		switch name {
		case "nr_periods":
			u.CPU.Periods = value
		case "nr_throttled":
			u.CPU.Throttled = value
		case "throttled_time":
			u.CPU.ThrottledTime = value
		}
	})
	memory := dirs["memory"]
	u.Memory = MemoryUsage{
		Usage: r.number(memory, "memory.usage_in_bytes"), MaxUsage: r.number(memory, "memory.max_usage_in_bytes"),
		Failures: r.number(memory, "memory.failcnt"), Limit: r.number(memory, "memory.limit_in_bytes"),
		Stat: r.table(memory, "memory.stat"),
	}
	u.Processes, u.ProcessLimit = r.number(dirs["pids"], "pids.current"), limit(r.number(dirs["pids"], "pids.max"))
	for _, f := range []struct {
		file string
		to   *[]IOCount
	}{{"blkio.throttle.io_service_bytes_recursive", &u.IO.Bytes}, {"blkio.throttle.io_serviced_recursive", &u.IO.Operations}} {
		for line := range strings.Lines(r.text(dirs["blkio"], f.file)) {
			if words := strings.Fields(line); len(words) == 3 { // "8:0 Read 4096"; the last line is "Total 4096"
				if d, ok := parseDevice(words[0]); ok {
					d.Op, d.Value = words[1], parseNumber(words[2])
					*f.to = append(*f.to, d)
				}
			}
		}
	}
}

func (r *reader) unified(dir string, u *Usage) {
	const microsecond = 1000
	r.pairs(dir, "cpu.stat", func(name string, value uint64) {
		switch name {
		case "usage_usec":
			u.CPU.Total = value * microsecond
		case "user_usec":
			u.CPU.User = value * microsecond
		case "system_usec":
			u.CPU.Kernel = value * microsecond
		case "nr_periods":
			u.CPU.Periods = value
		case "nr_throttled":
			u.CPU.Throttled = value
		case "throttled_usec":
			u.CPU.ThrottledTime = value * microsecond
		}
	})
	u.Memory = MemoryUsage{Usage: r.number(dir, "memory.current"), Limit: r.number(dir, "memory.max"), Stat: r.table(dir, "memory.stat")}
	r.pairs(dir, "memory.events", func(name string, value uint64) {
		if name == "oom" {
			u.Memory.Failures = value
		}
	})
	u.Processes, u.ProcessLimit = r.number(dir, "pids.current"), limit(r.number(dir, "pids.max"))
	for line := range strings.Lines(r.text(dir, "io.stat")) {
		words := strings.Fields(line) // "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6"
		if len(words) == 0 {
			continue
		}
		d, ok := parseDevice(words[0])
		if !ok {
			continue
		}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			d.Value = parseNumber(value)
			switch name {
			case "rbytes", "rios":
				d.Op = "read"
			case "wbytes", "wios":
				d.Op = "write"
			default:
				continue
			}
			if strings.HasSuffix(name, "bytes") {
				u.IO.Bytes = append(u.IO.Bytes, d)
			} else {
				u.IO.Operations = append(u.IO.Operations, d)
			}
		}
	}
}

func limit(n uint64) uint64 {
	if n == math.MaxUint64 {
		return 0
	}
	return n
}

func parseDevice(s string) (IOCount, bool) {
	major, minor, ok := strings.Cut(s, ":")
	return IOCount{Major: parseNumber(major), Minor: parseNumber(minor)}, ok
}

// gone tells the errors of a file that is not there, or whose cgroup went while it was read.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }
