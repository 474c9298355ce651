package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// Leftovers lists what a daemon with this folder and name has left on the host: processes, mounts, interfaces, rules,
// cgroups, files.
func Leftovers(t testing.TB, dir, name string) (found []string) {
	t.Helper()
	add := func(what string, args ...any) { found = append(found, fmt.Sprintf(what, args...)) }

	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		data, _ := os.ReadFile(path)
		if line := strings.ReplaceAll(string(data), "\x00", " "); strings.Contains(line, dir) {
			add("process %s: %s", filepath.Base(filepath.Dir(path)), line)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			add("mount %s", strings.TrimSpace(line))
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.Contains(l.Name, name) {
			add("interface %s", l.Name)
		}
	}
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if strings.Contains(table.Name, name) {
			add("nft table %s", table.Name)
		}
	}
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*")
	for _, h := range append(hierarchies, "/sys/fs/cgroup") {
		if _, err := os.Stat(filepath.Join(h, "pier-test-"+name)); err == nil {
			add("cgroup %s", filepath.Join(h, "pier-test-"+name))
		}
	}
	for _, sub := range []string{"data", "run"} {
		if _, err := os.Stat(filepath.Join(dir, sub)); !errors.Is(err, fs.ErrNotExist) {
			add("folder %s", filepath.Join(dir, sub))
		}
	}
	return found
}
