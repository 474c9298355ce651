package cgroup

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// TestMeterAgain shows that a meter which reads again says what a new one says, and what it gave out before stays as it
// was: after nothing, after work, memory, files written to a disk, and other limits.
func TestMeterAgain(t *testing.T) {
	for _, keep := range []bool{false, true} {
		c := group(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](50)}})
		m := c.Meter(keep)
		defer m.Close()
		before, err := m.Measure()
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			does   string
			do     func()
			differ func(before, after Usage) bool
		}{
			{"nothing", func() {}, nil},
			{"work", func() { work(t, c, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done") },
				func(before, after Usage) bool { return after.CPU.Total > before.CPU.Total+10e6 }},
			{"memory", func() { work(t, c, "x=$(head -c 8000000 /dev/zero | tr '\\0' x); [ ${#x} = 8000000 ]") },
				func(before, after Usage) bool {
					return c.unified || after.Memory.MaxUsage > before.Memory.MaxUsage+4<<20
				}},
			{"a file", func() {
				work(t, c, "dd if=/dev/zero of="+t.TempDir()+"/file bs=4096 count=100 conv=fsync 2>/dev/null")
			}, func(before, after Usage) bool {
				return !reflect.DeepEqual(before.IO, after.IO)
			}},
			{"a limit of CPU time", func() {
				if err := c.Set(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr[int64](20000), Period: ptr[uint64](40000)}}); err != nil {
					t.Fatal(err)
				}
				work(t, c, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
				measured(t, m) // the last period is still to end
				time.Sleep(100 * time.Millisecond)
			}, func(before, after Usage) bool { return after.CPU.Periods > before.CPU.Periods }},
			{"limits", func() {
				if err := c.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](32 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](70)}}); err != nil {
					t.Fatal(err)
				}
			}, func(_, after Usage) bool { return after.Memory.Limit == 32<<20 && after.ProcessLimit == 70 }},
			{"no limits", func() {
				if err := c.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](-1)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}}); err != nil {
					t.Fatal(err)
				}
			}, func(_, after Usage) bool { return after.Memory.Limit > 1<<60 && after.ProcessLimit == 0 }},
		} {
			given := clone(before)
			step.do()
			var again, other Usage
			waitFor(t, "the same figures after "+step.does, func() bool { // what runs in the kernel for the cgroup may go on a little
				again, other = measured(t, m), fresh(t, c)
				return reflect.DeepEqual(again, other)
			})
			if step.differ != nil && !step.differ(before, again) {
				t.Errorf("keep %v, after %s: %+v, before %+v", keep, step.does, again, before)
			}
			if !reflect.DeepEqual(before, given) {
				t.Errorf("keep %v, after %s: what was given out before changed to %+v from %+v", keep, step.does, before, given)
			}
			before = again
		}
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
		if u, err := m.Measure(); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("keep %v, of a cgroup that is gone: %+v, %v", keep, u, err)
		}
	}
}

// work waits until a script has run in c.
func work(t *testing.T, c *Cgroup, script string) {
	t.Helper()
	s, err := run(t, c, script).Wait()
	if err != nil || !s.Success() {
		t.Fatalf("%s: %v, %v", script, s, err)
	}
}

func measured(t *testing.T, m *Meter) Usage {
	t.Helper()
	u, err := m.Measure()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func fresh(t *testing.T, c *Cgroup) Usage {
	t.Helper()
	m := c.Meter(false)
	defer m.Close()
	return measured(t, m)
}

// clone shares nothing with u.
func clone(u Usage) Usage {
	u.CPU.PerCPU, u.Memory.Stat = slices.Clone(u.CPU.PerCPU), maps.Clone(u.Memory.Stat)
	u.IO = IOUsage{Bytes: slices.Clone(u.IO.Bytes), Operations: slices.Clone(u.IO.Operations)}
	return u
}
