package cgroup

import (
	"errors"
	"math"
	"os"
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

// Meter measures one cgroup again and again. Where it keeps the files open a reading costs half: a dozen descriptors for
// each meter, which do not keep the cgroup from being removed. It belongs to one goroutine at a time.
type Meter struct {
	c     *Cgroup
	keep  bool
	files map[string]int // descriptors by path, -1 where there is no such file
	text  []byte
}

// Meter makes a meter of c. The caller closes it.
func (c *Cgroup) Meter(keep bool) *Meter { return &Meter{c: c, keep: keep, files: map[string]int{}} }

// Close gives the files back. A second call does nothing.
func (m *Meter) Close() error {
	for _, n := range m.files {
		if n >= 0 {
			_ = unix.Close(n)
		}
	}
	m.files = nil
	return nil
}

// Measure reads what the cgroup uses. It reads far fewer files than Stats, for who asks every second for hundreds of
// cgroups. A cgroup that is gone is errkind.NotFound.
func (m *Meter) Measure() (Usage, error) {
	var u Usage
	r := reader{meter: m}
	if m.c.unified {
		r.unified(m.c.dirs[0], &u)
	} else {
		r.v1(m.c.byName, &u)
	}
	if r.err != nil {
		return u, r.err
	}
	if !r.found {
		return u, errkind.New(errkind.NotFound, "No such cgroup: %s", m.c.path)
	}
	return u, nil
}

// read returns a file's content, which is good until the next call.
func (m *Meter) read(name string) ([]byte, error) {
	n, known := m.files[name]
	if !known {
		var err error
		n, err = openFile(name, unix.O_RDONLY)
		if errors.Is(err, os.ErrNotExist) {
			n = -1
		} else if err != nil {
			return nil, err
		}
		if m.files != nil && m.keep {
			m.files[name] = n
		} else if n >= 0 {
			defer unix.Close(n)
		}
	}
	if n < 0 {
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.ENOENT}
	}
	if m.text == nil {
		m.text = make([]byte, 4<<10)
	}
	for at := 0; ; {
		k, err := unix.Pread(n, m.text[at:], int64(at))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: name, Err: err}
		default: // the kernel writes the whole of such a file at once: less than there is room for is all
			if at += k; at < len(m.text) {
				return m.text[:at], nil
			}
			m.text = append(m.text, make([]byte, len(m.text))...)
		}
	}
}

// reader reads the files of one cgroup. A missing file is no error as long as there is one at all: controllers differ.
type reader struct {
	meter *Meter
	found bool
	err   error
}

// text is a file's content, "" where there is none.
func (r *reader) text(dir, file string) string {
	if dir == "" || r.err != nil {
		return ""
	}
	b, err := r.meter.read(dir + "/" + file)
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
	for _, n := range strings.Fields(r.text(cpu, "cpuacct.usage_percpu")) {
		u.CPU.PerCPU = append(u.CPU.PerCPU, parseNumber(n))
		u.CPU.Total += parseNumber(n)
	}
	for line := range strings.Lines(r.text(cpu, "cpuacct.usage_all")) { // "cpu user system", then "0 17 4" and so on
		if words := strings.Fields(line); len(words) == 3 {
			u.CPU.User += parseNumber(words[1])
			u.CPU.Kernel += parseNumber(words[2])
		}
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
