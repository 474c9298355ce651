package cgroup

import (
	"bytes"
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

// Meter measures one cgroup again and again. What reads as it read before is not parsed again. Where it keeps the files
// open a reading costs half: a dozen descriptors for each meter, which do not keep the cgroup from being removed. It
// belongs to one goroutine at a time.
type Meter struct {
	c     *Cgroup
	keep  bool
	files map[string]*file // by name: no two hierarchies have files of one name
	text  []byte
	last  Usage // what the files' texts say
}

// file is one file of the cgroup.
type file struct {
	n    int    // the descriptor; absent, or closed between two readings, where it is below zero
	last []byte // what was in it last, nil before the first reading
}

const (
	absent = -1
	closed = -2
)

// Meter makes a meter of c. The caller closes it.
func (c *Cgroup) Meter(keep bool) *Meter { return &Meter{c: c, keep: keep, files: map[string]*file{}} }

// Close gives the files back. A second call does nothing.
func (m *Meter) Close() error {
	for _, f := range m.files {
		if f.n >= 0 {
			_ = unix.Close(f.n)
		}
	}
	m.files = nil
	return nil
}

// Measure reads what the cgroup uses. It reads far fewer files than Stats, for who asks every second for hundreds of
// cgroups. A cgroup that is gone is errkind.NotFound. Its map and slices are the caller's to read, not to change.
func (m *Meter) Measure() (Usage, error) {
	if m.files == nil {
		return Usage{}, errkind.New(errkind.NotFound, "measure cgroup %s: the meter is closed", m.c.path)
	}
	r := reader{meter: m}
	if m.c.unified {
		r.unified(m.c.dirs[0], &m.last)
	} else {
		r.v1(m.c.byName, &m.last)
	}
	if r.err != nil {
		for _, f := range m.files { // which of them were parsed is not known
			f.last = nil
		}
		return Usage{}, r.err
	}
	if !r.found {
		return Usage{}, errkind.New(errkind.NotFound, "No such cgroup: %s", m.c.path)
	}
	return m.last, nil
}

// read returns a file's content, which is good until the next call, and whether it is another one than the last time.
func (m *Meter) read(dir, name string) (text []byte, changed bool, err error) {
	f := m.files[name]
	if f == nil {
		f = &file{n: closed}
		m.files[name] = f
	}
	if f.n == closed {
		n, err := openFile(dir+"/"+name, unix.O_RDONLY)
		switch {
		case errors.Is(err, os.ErrNotExist):
			f.n = absent
		case err != nil:
			return nil, false, err
		case m.keep:
			f.n = n
		default:
			f.n = n
			defer func() { f.n = closed; _ = unix.Close(n) }()
		}
	}
	if f.n == absent {
		return nil, false, &os.PathError{Op: "open", Path: dir + "/" + name, Err: unix.ENOENT}
	}
	if m.text == nil {
		m.text = make([]byte, 4<<10)
	}
	for at := 0; ; {
		k, err := unix.Pread(f.n, m.text[at:], int64(at))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, false, &os.PathError{Op: "read", Path: dir + "/" + name, Err: err}
		default: // the kernel writes the whole of such a file at once: less than there is room for is all
			if at += k; at < len(m.text) {
				changed = f.last == nil || !bytes.Equal(f.last, m.text[:at])
				if changed {
					f.last = append(f.last[:0], m.text[:at]...)
				}
				return m.text[:at], changed, nil
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

// text is a file's content where it is another one than the last time.
func (r *reader) text(dir, file string) (text string, changed bool) {
	if dir == "" || r.err != nil {
		return "", false
	}
	b, changed, err := r.meter.read(dir, file)
	if err != nil {
		if !gone(err) {
			r.err = err
		}
		return "", false
	}
	r.found = true
	if !changed {
		return "", false
	}
	return string(b), true
}

// number sets n to the only number of a changed file, math.MaxUint64 for "max".
func (r *reader) number(dir, file string, n *uint64) (changed bool) {
	text, changed := r.text(dir, file)
	if changed {
		*n = parseNumber(strings.TrimSpace(text))
	}
	return changed
}

func parseNumber(s string) uint64 {
	if s == "max" {
		return math.MaxUint64
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// pairs gives each "name number" line of a changed file to f.
func (r *reader) pairs(dir, file string, f func(name string, value uint64)) {
	text, _ := r.text(dir, file)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			f(name, parseNumber(value))
		}
	}
}

// table sets t to all pairs of a changed file.
func (r *reader) table(dir, file string, t *map[string]uint64) {
	var out map[string]uint64
	r.pairs(dir, file, func(name string, value uint64) {
		if out == nil {
			out = make(map[string]uint64, 48)
		}
		out[name] = value
	})
	if out != nil {
		*t = out
	}
}

// v1 reads the files of a cgroup that has one folder for each controller. Each costs some microseconds, and most
// containers rest: a file that cannot have changed when another one has not is read after that one only.
func (r *reader) v1(dirs map[string]string, u *Usage) {
	ran := r.cpu(dirs["cpuacct"], &u.CPU)
	r.throttling(dirs["cpu"], &u.CPU)
	memory, pids := dirs["memory"], dirs["pids"]
	if charged := r.number(memory, "memory.usage_in_bytes", &u.Memory.Usage); ran || charged {
		r.number(memory, "memory.max_usage_in_bytes", &u.Memory.MaxUsage)
		r.number(memory, "memory.failcnt", &u.Memory.Failures)
	}
	r.number(memory, "memory.limit_in_bytes", &u.Memory.Limit)
	r.table(memory, "memory.stat", &u.Memory.Stat)
	r.number(pids, "pids.current", &u.Processes)
	r.number(pids, "pids.max", &u.ProcessLimit)
	u.ProcessLimit = limit(u.ProcessLimit)
	if r.devices(dirs["blkio"], "blkio.throttle.io_serviced_recursive", &u.IO.Operations) {
		r.devices(dirs["blkio"], "blkio.throttle.io_service_bytes_recursive", &u.IO.Bytes)
	}
}

// cpu tells whether processes of the cgroup may have run since the last time.
func (r *reader) cpu(accounting string, u *CPUUsage) (ran bool) {
	text, changed := r.text(accounting, "cpuacct.usage_percpu")
	if !changed && accounting != "" {
		return false
	}
	u.PerCPU, u.Total = nil, 0
	for _, n := range strings.Fields(text) {
		u.PerCPU = append(u.PerCPU, parseNumber(n))
		u.Total += parseNumber(n)
	}
	if text, changed := r.text(accounting, "cpuacct.usage_all"); changed {
		u.User, u.Kernel = 0, 0
		for line := range strings.Lines(text) { // "cpu user system", then "0 17 4" and so on
			if words := strings.Fields(line); len(words) == 3 {
				u.User += parseNumber(words[1])
				u.Kernel += parseNumber(words[2])
			}
		}
	}
	return true
}

// throttling reads what the kernel counts on for a while after the last process has run.
func (r *reader) throttling(bandwidth string, u *CPUUsage) {
	r.pairs(bandwidth, "cpu.stat", func(name string, value uint64) {
		switch name {
		case "nr_periods":
			u.Periods = value
		case "nr_throttled":
			u.Throttled = value
		case "throttled_time":
			u.ThrottledTime = value
		}
	})
}

// devices sets counts to what a changed file says: lines like "8:0 Read 4096", the last one "Total 4096".
func (r *reader) devices(dir, file string, counts *[]IOCount) (changed bool) {
	text, changed := r.text(dir, file)
	if !changed {
		return false
	}
	*counts = nil
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 3 {
			if d, ok := parseDevice(words[0]); ok {
				d.Op, d.Value = words[1], parseNumber(words[2])
				*counts = append(*counts, d)
			}
		}
	}
	return true
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
	r.number(dir, "memory.current", &u.Memory.Usage)
	r.number(dir, "memory.max", &u.Memory.Limit)
	r.table(dir, "memory.stat", &u.Memory.Stat)
	r.pairs(dir, "memory.events", func(name string, value uint64) {
		if name == "oom" {
			u.Memory.Failures = value
		}
	})
	r.number(dir, "pids.current", &u.Processes)
	r.number(dir, "pids.max", &u.ProcessLimit)
	u.ProcessLimit = limit(u.ProcessLimit)
	text, changed := r.text(dir, "io.stat")
	if !changed {
		return
	}
	u.IO = IOUsage{}
	for line := range strings.Lines(text) {
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
