package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestConfiguration asks pierd --validate about flags and configuration files. Nothing is made on the way.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pierd.json")
	data, run := filepath.Join(dir, "data"), filepath.Join(dir, "run")
	for _, tt := range []struct {
		config string
		flags  []string
		says   string // "" for a sound configuration
	}{
		{`{}`, []string{"--data-root", data, "--exec-root", run, "-H", "unix:///a.sock", "--host", "unix:///b.sock", "-p", dir + "/pid", "-D"}, ``},
		{`{"hosts": ["unix:///a.sock"], "bip": "10.3.0.1/16", "bridge": "br9", "log-level": "warn", "debug": true, "labels": ["a=b"], "dns": ["9.9.9.9"],
			"mtu": 1400, "insecure-registries": ["a:5"], "cgroup-parent": "/x", "pidfile": "/p", "group": "root"}`, nil, ``},
		{`{`, nil, `unexpected end of JSON input`},
		{`[]`, nil, `cannot unmarshal array`},
		{`{"nosuch": 1}`, nil, `don't match any configuration option: nosuch`},
		{`{"data-root": 5}`, nil, `data-root: want a string`},
		{`{"bip": "10.3.0.1/16"}`, []string{"--bip", "10.4.0.1/16"}, `specified both as a flag and in the configuration file: bip`},
		{`{"hosts": ["unix:///a.sock"]}`, []string{"-H", "unix:///b.sock"}, `specified both as a flag and in the configuration file: hosts`},
		{`{}`, []string{"--bip", "nonsense"}, `bip "nonsense"`},
		{`{}`, []string{"-b", "longer-than-an-interface"}, `bridge "longer-than-an-interface"`},
		{`{}`, []string{"-b", "br9", "--bip", "10.1.1.1/24"}, ``},
		{`{}`, []string{"-H", "nonsense"}, `invalid host "nonsense"`},
		{`{}`, []string{"-H", "tcp://0.0.0.0:1"}, `gives root on this machine to everyone`},
		{`{}`, []string{"-l", "odd"}, `invalid logging level: "odd"`},
		{`{}`, []string{"--data-root", "relative"}, ``},
		{`{}`, []string{"--data-root", "/"}, `data-root "/"`},
		{`{}`, []string{"--bridge", "none"}, ``},
		{`{}`, []string{"--bridge", "none", "--bip", "10.1.1.1/24"}, `without a bridge`},
		{`{}`, []string{"--mtu", "3"}, `mtu 3: want 68 to 65535`},
		{`{}`, []string{"--cgroup-parent", "/../x"}, `cgroup-parent`},
		{`{}`, []string{"--nosuch"}, `unknown flag: --nosuch`},
	} {
		if err := os.WriteFile(file, []byte(tt.config), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(bin, "pierd"), append([]string{"--validate", "--config-file", file}, tt.flags...)...).CombinedOutput()
		want := tt.says
		if want == "" {
			want = "^configuration OK\n$"
		}
		if sound := err == nil; sound != (tt.says == "") || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s %q: %v %s, want %q", tt.config, tt.flags, err, out, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("--validate made %v, %v", entries, err)
	}
}
