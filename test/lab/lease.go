package lab

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
)

// lease is a daemon's place on the machine: a file named by its range of addresses, which nobody else's has then, and which
// says who holds it. It outlives a test that is killed, so that the next one can clear up behind it.
type lease struct {
	Name  string   `json:"name"`
	Dir   string   `json:"dir"`
	Flags []string `json:"flags,omitempty"` // of pierd
	// The test's process.
	Pid     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
	Boot    string `json:"boot"`
	Numbers string `json:"numbers"` // the namespace in which Pid means something

	path string
}

// leases is the folder of all of them.
func leases() string { return filepath.Join(os.TempDir(), "pier-lab") }

// takeLease finds a name and a range of addresses that nothing on this machine has. The caller gives it back.
func takeLease(dir string) (*lease, netip.Prefix, error) {
	if err := os.MkdirAll(leases(), 0o700); err != nil {
		return nil, netip.Prefix{}, err
	}
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return nil, netip.Prefix{}, err
	}
	l := &lease{Dir: dir, Pid: os.Getpid(), Boot: boot(), Numbers: numbers()}
	if l.Started, err = started(l.Pid); err != nil {
		return nil, netip.Prefix{}, err
	}
	for range 1000 {
		var b [3]byte
		_, _ = rand.Read(b[:])
		l.Name = "pt" + hex.EncodeToString(b[:])
		bridge := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + b[0]%128, b[1], 1}), 24)
		if slices.ContainsFunc(taken, func(a net.Addr) bool {
			other, err := netip.ParsePrefix(a.String())
			return err == nil && other.Overlaps(bridge)
		}) {
			continue
		}
		l.path = filepath.Join(leases(), strings.TrimSuffix(bridge.Masked().Addr().String(), ".0"))
		f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil {
			err = errors.Join(json.NewEncoder(f).Encode(l), f.Close())
		}
		return l, bridge, err
	}
	return nil, netip.Prefix{}, errors.New("all ranges of addresses are taken")
}

// note adds pierd's flags to what a successor will find.
func (l *lease) note(flags []string) error {
	l.Flags = flags
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(l.path, text, 0o600)
}

// dead reports whether the test that held the lease is gone for certain: nobody has its number, or another process does.
func (l *lease) dead() bool {
	if now := boot(); now == "" || now != l.Boot {
		return now != ""
	}
	if l.Numbers != numbers() {
		return false // it can be seen in its own namespace alone
	}
	began, err := started(l.Pid)
	return err == nil && began != l.Started
}

// started is when a process began, "" for one that is gone.
func started(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || err != nil && strings.Contains(err.Error(), "no such process") {
		return "", nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	const field = 22 - 3
	if words := strings.Fields(rest); len(words) > field && words[0] != "Z" {
		return words[field], nil
	}
	return "", err
}

// numbers names the namespace of the numbers of processes that we see.
func numbers() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
}

func boot() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// Sweep removes what tests left that were killed: processes, mounts, interfaces, rules, cgroups and folders of daemons whose
// lease nobody living holds, and nothing else. It returns their names. Several processes may sweep at the same time. bin is
// the folder of the programs.
func Sweep(bin string) (swept []string, err error) {
	files, _ := filepath.Glob(filepath.Join(leases(), "*"))
	for _, path := range files {
		text, readErr := os.ReadFile(path)
		l := &lease{}
		if readErr != nil || json.Unmarshal(text, l) != nil || !l.plausible() {
			continue // it is just being written, or removed
		}
		if l.path = path; !l.dead() {
			continue
		}
		swept = append(swept, l.Name)
		if sweepErr := l.sweep(bin); sweepErr != nil {
			err = errors.Join(err, fmt.Errorf("clear up behind %s: %w", l.Name, sweepErr))
		}
	}
	return swept, err
}

// plausible keeps a damaged lease from meaning anything else than a lab's.
func (l *lease) plausible() bool {
	random, err := hex.DecodeString(strings.TrimPrefix(l.Name, "pt"))
	return err == nil && len(random) == 3 && l.Name == "pt"+hex.EncodeToString(random) && filepath.Dir(l.Dir) == filepath.Clean(os.TempDir()) && strings.HasPrefix(filepath.Base(l.Dir), "pier-") && l.Started != ""
}

// sweep has pierd clear up, which knows most of what there is, and then takes away what it could not.
func (l *lease) sweep(bin string) error {
	if _, err := os.Stat(filepath.Join(l.Dir, "data")); err == nil && len(l.Flags) > 0 && l.Boot == boot() {
		cmd := exec.Command(filepath.Join(bin, "pierd"), append([]string{"cleanup", "--data"}, l.Flags...)...)
		if cmd.Start() == nil {
			late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // what it leaves follows
			late.Stop()
		}
	}
	errs := []error{l.endProcesses(), l.unmount(), l.unlink()}
	for _, dir := range l.groups() {
		errs = append(errs, removeGroup(dir))
	}
	for _, dir := range []string{l.Dir, l.path} {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// endProcesses kills pierd, the supervisor, and all in the daemon's cgroups.
func (l *lease) endProcesses() error {
	root := filepath.Join(l.Dir, "run")
	alive := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		alive = 0
		commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range commands {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			p, err := os.FindProcess(pid) // before the look: it stays that process
			if err != nil {
				continue
			}
			words, _ := os.ReadFile(path) // nothing, once it has ended
			if strings.Contains(string(words), "root\x00"+root+"\x00") {
				alive++
				_ = p.Kill()
			}
			_ = p.Release()
		}
		for _, group := range l.groups() {
			_ = filepath.WalkDir(group, func(dir string, d os.DirEntry, err error) error {
				if err != nil || !d.IsDir() {
					return nil
				}
				_ = writeExisting(filepath.Join(dir, "freezer.state"), "THAWED")
				_ = writeExisting(filepath.Join(dir, "cgroup.kill"), "1")
				members, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
				for _, word := range strings.Fields(string(members)) {
					pid, _ := strconv.Atoi(word)
					alive++
					// The group is this daemon's alone: whoever has the number of one that was in it a moment ago is, but for a number
					// that came round within that moment.
					if p, err := os.FindProcess(pid); err == nil {
						if again, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")); slices.Contains(strings.Fields(string(again)), word) {
							_ = p.Kill()
						}
						_ = p.Release()
					}
				}
				return nil
			})
		}
		if alive == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d processes do not end", alive)
}

func writeExisting(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// groups are the daemon's cgroups, one in each hierarchy.
func (l *lease) groups() (all []string) {
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*")
	for _, h := range append(hierarchies, "/sys/fs/cgroup") {
		dir := filepath.Join(h, "pier-test-"+l.Name)
		if _, err := os.Stat(dir); err == nil {
			all = append(all, dir)
		}
	}
	return all
}

// removeGroup removes a cgroup and those below it, which are empty.
func removeGroup(dir string) error {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	var err error
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // the kernel lets go of the last process a moment after its end
		if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func (l *lease) unmount() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := slices.Collect(strings.Lines(string(mounts)))
	for _, line := range slices.Backward(lines) { // what is on top first
		if words := strings.Fields(line); len(words) > 4 && strings.HasPrefix(words[4], l.Dir+"/") {
			if out, umountErr := exec.Command("umount", "-l", words[4]).CombinedOutput(); umountErr != nil {
				err = errors.Join(err, fmt.Errorf("umount %s: %s", words[4], out))
			}
		}
	}
	return err
}

// unlink removes the bridges and the table of rules.
func (l *lease) unlink() error {
	links, err := net.Interfaces()
	for _, i := range links {
		if !strings.HasPrefix(i.Name, l.Name) {
			continue
		}
		if out, delErr := exec.Command("ip", "link", "delete", i.Name).CombinedOutput(); delErr != nil {
			err = errors.Join(err, fmt.Errorf("ip link delete %s: %s", i.Name, out))
		}
	}
	rules := &nftables.Conn{}
	tables, listErr := rules.ListTables()
	for _, table := range tables {
		if table.Name == "pier-"+l.Name {
			rules.DelTable(table)
		}
	}
	return errors.Join(err, listErr, rules.Flush())
}

// release gives the lease back.
func (l *lease) release(t testing.TB) {
	if err := os.Remove(l.path); err != nil {
		t.Error(err)
	}
}
