package command

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pierd.json")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"data-root": "/srv/pier", "hosts": ["unix:///run/a.sock", "unix:///run/b.sock"], "debug": true, "mtu": 1400, "dns": ["192.0.2.1"]}`)
	in, err := parse([]string{"--config-file", file, "-p", "/run/x.pid", "--label", "a=b", "--label=c=d"})
	if err != nil {
		t.Fatal(err)
	}
	c := in.config
	if c.DataRoot != "/srv/pier" || c.Pidfile != "/run/x.pid" || !c.Debug || c.MTU != 1400 || len(c.DNS) != 1 ||
		!reflect.DeepEqual(c.Hosts, []string{"unix:///run/a.sock", "unix:///run/b.sock"}) || !reflect.DeepEqual(c.Labels, []string{"a=b", "c=d"}) {
		t.Errorf("config = %+v", c)
	}
	refused := []struct{ file, want string }{
		{`{"odd": 1, "host": [], "validate": true}`, "the following directives don't match any configuration option: host, odd, validate"},
		{`{"bip": "10.9.0.1/24"}`, "the following directives are specified both as a flag and in the configuration file: bip: (from flag: 10.8.0.1/24, from file: \"10.9.0.1/24\")"},
		{`{"mtu": "1400"}`, "mtu: want a int"},
		{`{"hosts": "unix:///x"}`, "want a list of strings"},
		{`{`, "unexpected end"},
	}
	for _, tt := range refused {
		write(tt.file)
		if _, err := parse([]string{"--config-file", file, "--bip", "10.8.0.1/24"}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.file, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	none := filepath.Join(t.TempDir(), "empty.json")
	if err := os.WriteFile(none, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--odd":                            "unknown flag",
		"run":                              "unknown command \"run\"",
		"--data":                           "belongs to pierd cleanup",
		"--data-root /":                    "clean absolute path",
		"--mtu 3":                          "want 68 to 65535",
		"--bridge none --bip 10.1.0.1/16":  "without a bridge",
		"--exec-root /":                    "below /",
		"--bip 10.0.0.0/8":                 "want an address",
		"--bridge a-name-that-is-too-long": "at most 15",
		"--log-level loud":                 "invalid logging level",
		"-H fd://":                         "invalid host",
		"-H tcp://0.0.0.0:2375":            "gives root",
		"--tlsverify":                      "needs both",
		"--dns host":                       "want an IP address",
		"--label =x":                       "bad attribute format",
		"--config-file /does/not/exist":    "no such file",
	} {
		all := append([]string{"--config-file", none}, strings.Fields(args)...)
		if _, err := parse(all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
	for _, args := range []string{"-H tcp://127.0.0.1:0 --tls=false", "stop", "upgrade", "cleanup --data", "-D -l warn", "--data-root x --mtu 68 --bridge none"} {
		all := append([]string{"--config-file", none}, strings.Fields(args)...)
		if _, err := parse(all); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestRunAnswersWithoutADaemon(t *testing.T) {
	for arg, want := range map[string]string{"--help": "--data-root folder", "--version": "Pier version", "--validate": "configuration OK"} {
		var out, errs bytes.Buffer
		if code := Run([]string{arg}, &out, &errs); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s = %d, %q, %q", arg, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := Run([]string{"--odd"}, &out, &errs); code != 1 || !strings.HasPrefix(errs.String(), "pierd: ") {
		t.Errorf("--odd = %d, %q", code, errs.String())
	}
}
