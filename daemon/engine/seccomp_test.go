package engine

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// TestSeccompFlags: the flags of a user's profile reach the kernel, for the first process and for execs; one that is not
// known is refused.
func TestSeccompFlags(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	profile := func(flag string) setup {
		return func(_ *container.Config, h *container.HostConfig) {
			h.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","flags":["` + flag + `"],"syscalls":[{"names":["acct"],"action":"SCMP_ACT_ERRNO"}]}`}
		}
	}
	for _, flag := range []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"} {
		cid := r.create("", profile(flag), "sleep", "1000")
		r.must(r.Containers().Start(ctx, cid))
		x, err := r.Execs().Create(ctx, cid, container.ExecCreateRequest{Cmd: []string{"sleep", "1000"}})
		r.must(err)
		_, err = r.Execs().Start(ctx, x.ID, ExecStartOptions{Detach: true})
		r.must(err)
		more, err := r.Execs().Inspect(ctx, x.ID)
		r.must(err)
		want := uint64(0) // the kernel tells of this one alone
		if flag == "SECCOMP_FILTER_FLAG_LOG" {
			want = unix.SECCOMP_FILTER_FLAG_LOG
		}
		for what, pid := range map[string]int{"first process": r.inspect(cid).State.Pid, "exec": more.Pid} {
			if got := filterFlags(t, pid); got != want {
				t.Errorf("%s: the %s's filter has flags %#x, want %#x", flag, what, got, want)
			}
		}
		r.must(r.Containers().Remove(ctx, cid, RemoveOptions{Force: true}))
	}
	cid := r.create("", profile("SECCOMP_FILTER_FLAG_NOSUCH"), "true")
	if err := r.Containers().Start(ctx, cid); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "SECCOMP_FILTER_FLAG_NOSUCH") {
		t.Errorf("an unknown flag: %v", err)
	}
}

// filterFlags asks the kernel for the flags of a process's filter (ptrace(2) PTRACE_SECCOMP_GET_METADATA).
func filterFlags(t *testing.T, pid int) uint64 {
	t.Helper()
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.PtraceDetach(pid) }()
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	const getMetadata = 0x420d
	var metadata struct{ filter, flags uint64 }
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getMetadata, uintptr(pid), unsafe.Sizeof(metadata), uintptr(unsafe.Pointer(&metadata)), 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return metadata.flags
}
