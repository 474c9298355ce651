package security

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRuntimeBinary executes the runtime's own program from inside by every name it has there, and tries to write to it
// (CVE-2019-5736).
func TestRuntimeBinary(t *testing.T) {
	w := start(t)
	w.image("evil", nil, symlink("bin/link", "/proc/self/exe"), program("bin/script", "#!/proc/self/exe supervise\n"))
	for name, args := range map[string][]string{
		"direct": {"--entrypoint", "/proc/self/exe", "evil", "supervise", "--root", "/tmp"},
		"link":   {"--entrypoint", "/bin/link", "evil", "supervise", "--root", "/tmp"},
		"path":   {"-e", "PATH=/proc/self", "--entrypoint", "exe", "evil", "supervise", "--root", "/tmp"},
		"thread": {"--entrypoint", "/proc/thread-self/exe", "evil", "supervise", "--root", "/tmp"},
	} {
		w.sub(name, func(w *world) {
			r := w.Do("pier", append([]string{"run", "-d", "--name", name, "--network", "none"}, args...)...)
			defer w.Do("pier", "rm", "-f", name)
			if r.Code != 0 {
				return // refused: as good
			}
			w.unwritable(w.pid(name))
		})
	}
	w.background("victim", "evil", "sleep", "1000")
	w.sub("exec", func(w *world) {
		if r := w.Do("pier", "exec", "-d", "victim", "/proc/self/exe", "supervise", "--root", "/tmp"); r.Code != 0 {
			return
		}
		exes, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, exe := range exes {
			if root, _ := os.Readlink(filepath.Dir(exe) + "/root"); root != "/" && root != "" {
				var pid int
				_, _ = fmt.Sscanf(exe, "/proc/%d/exe", &pid)
				w.unwritable(pid)
			}
		}
	})
	// What the supervisor itself is: the same file for all of the above.
	w.unwritable(w.Supervisor())
}

// unwritable fails unless the program of a process lies on a read-only mount, where not even root can open it for
// writing. "In use" is no answer to such an attempt, as it does not last.
func (w *world) unwritable(pid int) {
	w.t.Helper()
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	target, err := os.Readlink(exe)
	if err != nil || strings.Contains(target, "busybox") {
		return
	}
	var at syscall.Statfs_t
	w.check(syscall.Statfs(exe, &at))
	const readOnly = 1 // ST_RDONLY
	if at.Flags&readOnly == 0 {
		w.t.Errorf("the program of process %d, %s, can be written to once nobody runs it", pid, target)
	}
}

// TestDescriptors leads working directories and programs through descriptors of the runtime (CVE-2024-21626).
func TestDescriptors(t *testing.T) {
	w := start(t)
	w.background("other", "busybox", "sleep", "1000")
	w.image("evil", nil)
	for fd := range 48 {
		link := fmt.Sprintf("/proc/self/fd/%d", fd)
		if r := w.run("-w", link, "evil", "sh", "-c", "pwd; ls ../../../../../../.."); r.Code == 0 && fd > 2 && !strings.HasPrefix(r.Out, "/\n") {
			t.Errorf("working directory %s: %s%s", link, r.Out, r.Err)
		}
		if fd > 2 {
			for _, program := range []string{link + "/bin/busybox", link} {
				if r := w.run("--entrypoint", program, "evil", "true"); r.Code == 0 {
					t.Errorf("executed %s", program)
				}
			}
		}
		if r := w.Do("pier", "exec", "-w", link, "other", "ls"); r.Code == 0 {
			t.Errorf("exec in the working directory %s: %s", link, r.Out)
		}
		if r := w.Do("pier", "exec", "other", link+"/bin/busybox", "true"); r.Code == 0 {
			t.Errorf("exec of %s/bin/busybox", link)
		}
	}
	if out := w.output("busybox", "sh", "-c", "ls /proc/self/fd"); strings.ReplaceAll(out, "\n", " ") != "0 1 2 3" { // 3: ls itself
		t.Errorf("descriptors inside: %s", out)
	}
	w.intact()
}
