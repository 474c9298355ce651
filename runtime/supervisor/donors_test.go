package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// A container joins the namespaces of another's process, and never those of a process that has got its number.
func TestDonors(t *testing.T) {
	s := successor(t)
	sleeper := func() (pid int, f *os.File, end func()) {
		cmd := exec.Command("/bin/busybox", "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		f, err := pidfd.Open(cmd.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
		t.Cleanup(func() { end(); f.Close() })
		return cmd.Process.Pid, f, end
	}
	pid, handle, _ := sleeper()
	_, other, end := sleeper()
	donor := s.newTask(record{Task: shim.Task{TaskRef: shim.TaskRef{ID: "donor"}}})
	s.tasks[donor.ref] = donor
	join := func() (*specs.Linux, func(), error) {
		l := &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace},
			{Type: specs.IPCNamespace, Path: fmt.Sprintf("/proc/%d/ns/ipc", pid)}}}
		done, err := s.holdDonors(l)
		return l, done, err
	}
	if _, _, err := join(); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a process that is no container's: %v", err)
	}
	donor.info.Pid, donor.pidfd = pid, handle
	l, done, err := join()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := os.Stat(fmt.Sprintf("/proc/%d/ns/ipc", pid))
	if got, err := os.Stat(l.Namespaces[1].Path); err != nil || !os.SameFile(want, got) || l.Namespaces[0].Path != "" {
		t.Errorf("joined is %q, %v", l.Namespaces[1].Path, err)
	}
	done()
	donor.pidfd = other // the donor has ended, and another process has its number
	end()
	if _, _, err := join(); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a process with the number of one that has ended: %v", err)
	}
}
