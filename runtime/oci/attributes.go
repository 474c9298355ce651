package oci

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// selfAttributes adds the writes to /proc/self by which a process sets itself up for its next program. They come first,
// while /proc is still the host's, which no container can have prepared.
func (t *task) selfAttributes() error {
	if adj := t.process.OOMScoreAdj; adj != nil {
		if err := t.oomScore(*adj); err != nil {
			return err
		}
	}
	if p := t.process.ApparmorProfile; p != "" && p != "unconfined" {
		t.writeSelf("set AppArmor profile", "attr/apparmor/exec", "exec "+p)
	}
	if l := t.process.SelinuxLabel; l != "" {
		t.writeSelf("set SELinux label", "attr/exec", l)
	}
	return nil
}

func (t *task) writeSelf(what, file, data string) spawn.Call {
	fd := t.Slot()
	name := path.Join("/proc/self", file)
	t.Add(what, name, unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), t.String(name), spawn.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
	call := t.Write(what, name, spawn.From(fd), data)
	t.CloseFD(fd)
	return call
}

// oomScore adds the write of oom_score_adj. Only a process with CAP_SYS_RESOURCE may go below its parent's; a container
// that asks for less than zero is told so, while the default of zero is not worth a failure.
func (t *task) oomScore(adj int) error {
	if adj < -1000 || adj > 1000 {
		return t.fail("set", "oom_score_adj", errkind.New(errkind.Invalid, "%d is outside -1000 to 1000", adj))
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err == nil && strings.TrimSpace(string(own)) == strconv.Itoa(adj) {
		return nil
	}
	call := t.writeSelf("set oom_score_adj", "oom_score_adj", strconv.Itoa(adj))
	if adj >= 0 {
		call.Tolerate(unix.EACCES, unix.EPERM)
	}
	return nil
}
