package security

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pier/api/shim"
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
	// What the supervisor itself is, the same file for all of the above: also after an upgrade.
	w.unwritable(w.Supervisor())
	if generation := w.upgrade(); generation != 2 {
		t.Errorf("generation %d after an upgrade", generation)
	}
	w.unwritable(w.Supervisor())
	w.pier("exec", "victim", "true")
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", w.Supervisor())); string(name) != "pier-runtime\n" {
		t.Errorf("the supervisor is called %q", name)
	}
}

// upgrade has the supervisor execute the program at its path, and returns what it then says it is.
func (w *world) upgrade() int {
	w.t.Helper()
	c, err := net.Dial("unix", filepath.Join(w.Dir, "run", "supervisor.sock"))
	w.check(err)
	defer c.Close()
	body, err := json.Marshal(shim.Request{Kind: shim.KindUpgrade})
	w.check(err)
	_, err = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	w.check(err)
	var size uint32
	w.check(binary.Read(c, binary.BigEndian, &size))
	var answer shim.Response
	w.check(json.NewDecoder(io.LimitReader(c, int64(size))).Decode(&answer))
	if answer.Error != nil || answer.Hello == nil {
		w.t.Fatalf("upgrade: %+v", answer)
	}
	return answer.Hello.Generation
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
	if err := syscall.Statfs(exe, &at); errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return // it has just ended
	} else if err != nil {
		w.t.Fatal(err)
	}
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
	for fd := range 24 {
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
