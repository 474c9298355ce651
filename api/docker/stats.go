package docker

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
)

// StatsWriter writes the samples of one stream. The zero value is ready; it is not for concurrent use.
type StatsWriter struct{ words []string } // of memory.stat, sorted: they are the same in every sample

// Append appends s as encoding/json writes it, byte for byte, without reflection: a daemon that is watched writes hundreds
// of them a second.
func (w *StatsWriter) Append(b []byte, s *container.StatsResponse) []byte {
	b = append(b, '{')
	b = someText(b, "id", s.ID)
	b = someText(b, "name", s.Name)
	b = someText(b, "os_type", s.OSType)
	b = moment(b, "read", s.Read)
	b = cpuStats(b, "cpu_stats", &s.CPUStats)
	b = w.memoryStats(b, &s.MemoryStats)
	if len(s.Networks) > 0 {
		b = append(key(b, "networks"), '{')
		var room [4]string
		for _, name := range sortedKeys(room[:0], s.Networks) {
			n := s.Networks[name]
			b = append(text(comma(b), name), ':', '{')
			b = number(b, "rx_bytes", n.RxBytes)
			b = number(b, "rx_packets", n.RxPackets)
			b = number(b, "rx_errors", n.RxErrors)
			b = number(b, "rx_dropped", n.RxDropped)
			b = number(b, "tx_bytes", n.TxBytes)
			b = number(b, "tx_packets", n.TxPackets)
			b = number(b, "tx_errors", n.TxErrors)
			b = number(b, "tx_dropped", n.TxDropped)
			b = someText(b, "endpoint_id", n.EndpointID)
			b = append(someText(b, "instance_id", n.InstanceID), '}')
		}
		b = append(b, '}')
	}
	b = append(key(b, "pids_stats"), '{')
	b = some(b, "current", s.PidsStats.Current)
	b = append(some(b, "limit", s.PidsStats.Limit), '}')
	b = append(key(b, "blkio_stats"), '{')
	b = blkio(b, "io_service_bytes_recursive", s.BlkioStats.IoServiceBytesRecursive)
	b = blkio(b, "io_serviced_recursive", s.BlkioStats.IoServicedRecursive)
	b = blkio(b, "io_queue_recursive", s.BlkioStats.IoQueuedRecursive)
	b = blkio(b, "io_service_time_recursive", s.BlkioStats.IoServiceTimeRecursive)
	b = blkio(b, "io_wait_time_recursive", s.BlkioStats.IoWaitTimeRecursive)
	b = blkio(b, "io_merged_recursive", s.BlkioStats.IoMergedRecursive)
	b = blkio(b, "io_time_recursive", s.BlkioStats.IoTimeRecursive)
	b = append(blkio(b, "sectors_recursive", s.BlkioStats.SectorsRecursive), '}')
	b = number(b, "num_procs", uint64(s.NumProcs))
	b = append(key(b, "storage_stats"), '{')
	b = some(b, "read_count_normalized", s.StorageStats.ReadCountNormalized)
	b = some(b, "read_size_bytes", s.StorageStats.ReadSizeBytes)
	b = some(b, "write_count_normalized", s.StorageStats.WriteCountNormalized)
	b = append(some(b, "write_size_bytes", s.StorageStats.WriteSizeBytes), '}')
	b = moment(b, "preread", s.PreRead)
	return append(cpuStats(b, "precpu_stats", &s.PreCPUStats), '}')
}

func cpuStats(b []byte, name string, s *container.CPUStats) []byte {
	b = append(key(b, name), '{')
	b = append(key(b, "cpu_usage"), '{')
	b = number(b, "total_usage", s.CPUUsage.TotalUsage)
	if len(s.CPUUsage.PercpuUsage) > 0 {
		b = append(key(b, "percpu_usage"), '[')
		for _, n := range s.CPUUsage.PercpuUsage {
			b = strconv.AppendUint(comma(b), n, 10)
		}
		b = append(b, ']')
	}
	b = number(b, "usage_in_kernelmode", s.CPUUsage.UsageInKernelmode)
	b = append(number(b, "usage_in_usermode", s.CPUUsage.UsageInUsermode), '}')
	b = some(b, "system_cpu_usage", s.SystemUsage)
	b = some(b, "online_cpus", uint64(s.OnlineCPUs))
	b = append(key(b, "throttling_data"), '{')
	b = number(b, "periods", s.ThrottlingData.Periods)
	b = number(b, "throttled_periods", s.ThrottlingData.ThrottledPeriods)
	return append(number(b, "throttled_time", s.ThrottlingData.ThrottledTime), '}', '}')
}

func (w *StatsWriter) memoryStats(b []byte, s *container.MemoryStats) []byte {
	b = append(key(b, "memory_stats"), '{')
	b = some(b, "usage", s.Usage)
	b = some(b, "max_usage", s.MaxUsage)
	if len(s.Stats) > 0 {
		b = append(key(b, "stats"), '{')
		before, known := len(b), len(w.words) == len(s.Stats)
		if known {
			b, known = counters(b, w.words, s.Stats)
		}
		if !known {
			w.words = sortedKeys(w.words[:0], s.Stats)
			b, _ = counters(b[:before], w.words, s.Stats)
		}
		b = append(b, '}')
	}
	b = some(b, "failcnt", s.Failcnt)
	b = some(b, "limit", s.Limit)
	b = some(b, "commitbytes", s.Commit)
	b = some(b, "commitpeakbytes", s.CommitPeak)
	return append(some(b, "privateworkingset", s.PrivateWorkingSet), '}')
}

// counters appends the values of names, which are in m unless ok is false.
func counters(b []byte, names []string, m map[string]uint64) (_ []byte, ok bool) {
	for _, name := range names {
		n, ok := m[name]
		if !ok {
			return b, false
		}
		b = strconv.AppendUint(append(text(comma(b), name), ':'), n, 10)
	}
	return b, true
}

func blkio(b []byte, name string, list []container.BlkioStatEntry) []byte {
	b = key(b, name)
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range list {
		b = append(comma(b), '{')
		b = number(b, "major", list[i].Major)
		b = number(b, "minor", list[i].Minor)
		b = text(key(b, "op"), list[i].Op)
		b = append(number(b, "value", list[i].Value), '}')
	}
	return append(b, ']')
}

// comma separates what follows from what may be before it.
func comma(b []byte) []byte {
	if last := b[len(b)-1]; last != '{' && last != '[' {
		b = append(b, ',')
	}
	return b
}

func key(b []byte, name string) []byte {
	b = append(comma(b), '"')
	return append(append(b, name...), '"', ':')
}

func number(b []byte, name string, n uint64) []byte { return strconv.AppendUint(key(b, name), n, 10) }

// some is number for a field that is left out where it is zero.
func some(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return number(b, name, n)
}

func someText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return text(key(b, name), s)
}

// text appends s in quotes. What is not plain is left to encoding/json.
func text(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // of a string it never fails
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func moment(b []byte, name string, t time.Time) []byte {
	return append(t.AppendFormat(append(key(b, name), '"'), time.RFC3339Nano), '"')
}

func sortedKeys[V any](room []string, m map[string]V) []string {
	for name := range m {
		room = append(room, name)
	}
	slices.Sort(room)
	return room
}
