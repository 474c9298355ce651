package row

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"pier/cli/internal/table"
	"pier/lib/id"
)

// Stats is one line of `stats`.
type Stats struct{ BlockIO, CPUPerc, Container, ID, MemPerc, MemUsage, Name, NetIO, PIDs string }

// StatsHead holds the titles.
func StatsHead() Stats {
	return Stats{BlockIO: "BLOCK I/O", CPUPerc: "CPU %", Container: "CONTAINER", ID: "CONTAINER ID", MemPerc: "MEM %",
		MemUsage: "MEM USAGE / LIMIT", Name: "NAME", NetIO: "NET I/O", PIDs: "PIDS"}
}

// Usage is what one sample says, in numbers. That of a container that does not run is all zeros.
type Usage struct {
	Ref, ID, Name string
	CPU           float64 // hundredths of one processor: two busy ones are 200
	Memory, Limit float64 // bytes
	Rx, Tx        uint64  // bytes, since the start
	Read, Written uint64  // bytes, since the start
	PIDs          uint64
}

// UsageOf reads a sample. ref is how the user named the container.
func UsageOf(ref string, s *container.StatsResponse) Usage {
	u := Usage{Ref: ref, ID: s.ID, Name: strings.TrimPrefix(s.Name, "/"), CPU: cpuShare(s), Memory: usedMemory(&s.MemoryStats),
		Limit: float64(s.MemoryStats.Limit), PIDs: s.PidsStats.Current}
	for _, n := range s.Networks {
		u.Rx, u.Tx = u.Rx+n.RxBytes, u.Tx+n.TxBytes
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			u.Read += e.Value
		case "write":
			u.Written += e.Value
		}
	}
	return u
}

// MemoryShare is the part of the limit that is used, in percent; 0 without a limit.
func (u *Usage) MemoryShare() float64 {
	if u.Limit <= 0 {
		return 0
	}
	return u.Memory / u.Limit * 100
}

// StatsOf words a sample; short cuts the identifier.
func StatsOf(u Usage, short bool) Stats {
	r := Stats{Container: u.Ref, ID: u.ID, Name: u.Name, CPUPerc: fmt.Sprintf("%.2f%%", u.CPU), MemPerc: fmt.Sprintf("%.2f%%", u.MemoryShare()),
		MemUsage: units.BytesSize(u.Memory) + " / " + units.BytesSize(u.Limit), PIDs: fmt.Sprint(u.PIDs),
		NetIO:   table.Size(int64(u.Rx)) + " / " + table.Size(int64(u.Tx)),
		BlockIO: table.Size(int64(u.Read)) + " / " + table.Size(int64(u.Written))}
	if short {
		r.ID = id.Short(r.ID)
	}
	return r
}

func cpuShare(s *container.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	there := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	if used <= 0 || there <= 0 {
		return 0
	}
	return used / there * float64(max(s.CPUStats.OnlineCPUs, 1)) * 100
}

// usedMemory leaves out what the kernel would drop first: the page cache of files that nobody has used twice.
func usedMemory(m *container.MemoryStats) float64 {
	for _, name := range []string{"total_inactive_file", "inactive_file"} { // cgroup v1, v2
		if cache, ok := m.Stats[name]; ok && cache < m.Usage {
			return float64(m.Usage - cache)
		}
	}
	return float64(m.Usage)
}
