package vm

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

// rooms are the packages whose own tests run in the machine too: those that ask most of the kernel.
var rooms = []string{
	"pier/kernel/cgroup", "pier/kernel/fsroot", "pier/kernel/link", "pier/kernel/mount", "pier/kernel/nft", "pier/kernel/pidfd",
	"pier/kernel/quota", "pier/kernel/spawn", "pier/kernel/tty", "pier/runtime/oci", "pier/runtime/supervisor", "pier/runtime/command",
	"pier/daemon/engine/custody", "pier/daemon/volume",
}

// programs are those that take the most time: the engine's own tests, upgrades of what runs, limits as the runtime
// specification has them. One machine runs them, while the other one is busy with a whole Debian; checks.sh says which tests.
var programs = []string{"pier/daemon/engine", "pier/test/crash", "pier/test/oci"}

// beside are packages that the machine runs as well where no fast one does.
var beside = []string{"pier/kernel/helper", "pier/kernel/reaper", "pier/kernel/seccomp"}

var bin string // folder of the programs under test

func TestMain(m *testing.M) { lab.Main(m, &bin) }

// TestDebian runs testdata/checks.sh on Debian's kernels, on both at once: its checks, a power cut, and on the same disk
// those of what has to be there after it. PIER_VM_CHECKS, a shell pattern such as room_*, picks some of the checks; the
// power cut wants *start, before_* and after_*. PIER_VM_ARCH=arm64 makes it one machine with such processors and everything
// built for it.
func TestDebian(t *testing.T) {
	tests := t.TempDir()
	var releases []release
	bin, rooms := bin, rooms
	if os.Getenv("PIER_VM_ARCH") == arm64.name {
		releases = []release{{name: "bookworm-arm64", arch: arm64, suite: "bookworm", meta: "linux-image-cloud-arm64", programs: true,
			tools: []string{"busybox-static", "criu", "e2fsprogs", "gzip", "nftables", "tar"}}}
		bin = tests + "/bin"
		build(t, arm64, []string{"build"}, bin, []string{"pier/cmd/pier", "pier/cmd/pierd", "pier/cmd/pier-runtime"})
		rooms = append(rooms, beside...)
	} else {
		releases = []release{
			{name: "bookworm", arch: amd64, meta: "linux-image-cloud-amd64", disks: []string{lab.Debian(t)}},
			{name: "bookworm-backports", arch: amd64, suite: "bookworm-backports", meta: "linux-image-cloud-amd64", programs: true},
		}
	}
	build(t, releases[0].arch, []string{"test", "-c"}, tests+"/rooms", rooms)
	build(t, releases[0].arch, []string{"test", "-c"}, tests+"/programs", programs)
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			k := r.get(t)
			t.Parallel()
			m := machine{kernel: k, initrd: initramfs(t, bin, tests, r.programs, k), disk: newDisk(t), xfs: newXFS(t), more: r.disks}
			m.boot(t, "all")
			if !t.Failed() {
				m.boot(t, "after")
			}
		})
	}
}

// build makes programs in a folder, by a command of Go.
func build(t *testing.T, a arch, command []string, folder string, packages []string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", slices.Concat(command, []string{"-ldflags", "-s -w", "-o", folder + "/"}, packages)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+a.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", command[0], err, out)
	}
}

// deadline is what a machine has from its first instruction to its last, several times what it takes: it ends one that hangs.
const deadline = 20 * time.Minute

// machine is what lasts from one start of it to the next.
type machine struct {
	kernel       kernel
	initrd, disk string
	xfs          string   // a small disk with that file system
	more         []string // disks that it only reads
}

// newDisk makes the file system that a machine's root moves to.
func newDisk(t *testing.T) string {
	return formatted(t, 2<<30, "/sbin/mke2fs", "-q", "-t", "ext4", "-O", "quota,project", "-E", "quotatype=prjquota")
}

// newXFS makes the smallest XFS that its program makes.
func newXFS(t *testing.T) string { return formatted(t, 300<<20, "/sbin/mkfs.xfs", "-q") }

// formatted makes a file of some size and has a program make a file system in it.
func formatted(t *testing.T, size int64, program ...string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program[0], append(program[1:], disk)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program[0], err, out)
	}
	return disk
}

// boot runs the machine to its end, with the checks of one stage, and makes each PASS and FAIL line on its serial console
// a subtest.
//
//	CHECK name         what follows belongs to this check
//	PASS name seconds
//	FAIL name seconds  the lines since CHECK tell why
//	DONE               all checks have been made
func (m machine) boot(t *testing.T, stage string) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	emulator := "qemu-system-" + m.kernel.arch.machine
	cmd := exec.CommandContext(ctx, emulator, append(slices.Clone(m.kernel.arch.emulator), "-smp", "2", "-m", "1536",
		"-kernel", m.kernel.image, "-initrd", m.initrd, "-append", m.kernel.arch.kernel+" quiet panic=-1 cgroup_no_v1=all mitigations=off stage="+stage+" checks="+os.Getenv("PIER_VM_CHECKS"),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-drive", "file="+m.disk+",if=virtio,format=raw,cache=unsafe",
		"-drive", "file="+m.xfs+",if=virtio,format=raw,cache=unsafe",
		"-netdev", "user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:/bin/busybox echo outside", "-device", "virtio-net-pci,netdev=net,romfile=")...)
	for _, d := range m.more {
		cmd.Args = append(cmd.Args, "-drive", "file="+d+",if=virtio,format=raw,readonly=on")
	}
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (%s is in one of Debian's packages qemu-system-x86 and qemu-system-arm)", err, emulator)
	}
	var lines []string
	done, passed := false, 0
	for s := bufio.NewScanner(console); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		word, rest, _ := strings.Cut(line, " ")
		name, _, _ := strings.Cut(rest, " ")
		switch word {
		case "CHECK":
			lines = nil
			continue
		case "PASS":
			passed++
			t.Run(name, func(t *testing.T) { t.Log(rest) })
		case "FAIL":
			text := strings.Join(lines, "\n")
			t.Run(name, func(t *testing.T) { t.Errorf("%s\n%s", rest, text) })
		case "DONE":
			done = true
		case "INFO":
			t.Log(rest)
		}
		lines = append(lines, line)
	}
	err = cmd.Wait()
	t.Logf("%d checks passed in %.0f s", passed, time.Since(begin).Seconds())
	if err != nil || !done {
		t.Errorf("the machine came to a bad end: %v\n%s", err, strings.Join(lines, "\n"))
	}
}
