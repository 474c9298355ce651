package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// run is one command line against no daemon.
func run(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = Main(args, Streams{In: strings.NewReader(""), Out: &o, Err: &e}, func(name string) string {
		return map[string]string{"PIER_HOST": "unix:///nosuch.sock", "DOCKER_CONFIG": "/nosuch"}[name]
	})
	return code, o.String(), e.String()
}

// leaves calls f for every command that does something, by its path.
func leaves(f func(path []string, cmd *cobra.Command)) {
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		for _, child := range cmd.Commands() {
			walk(child, append(path[:len(path):len(path)], child.Name()))
		}
		if !cmd.HasSubCommands() && !cmd.Hidden {
			f(path, cmd)
		}
	}
	walk(newRoot(&app{env: func(string) string { return "" }}, nil), nil)
}

// Every command explains itself with an example, and completes what it takes: files only where it takes files.
func TestEveryCommandHelps(t *testing.T) {
	takesFiles := map[string]bool{"cp": true, "container cp": true, "import": true, "image import": true}
	count := 0
	leaves(func(path []string, cmd *cobra.Command) {
		count++
		name := strings.Join(path, " ")
		code, out, _ := run(append(path, "--help")...)
		if code != 0 || !strings.Contains(out, "Usage:  pier "+name) || !strings.HasPrefix(out, cmd.Short) {
			t.Errorf("%s --help: %d\n%s", name, code, out)
		}
		if !strings.Contains(out, "\nExamples:\n  ") && name != "context show" {
			t.Errorf("%s --help has no example: add it to cli/internal/help", name)
		}
		code, out, _ = run(append(append([]string{cobra.ShellCompNoDescRequestCmd}, path...), "")...)
		if code != 0 || strings.Contains(out, ":0\n") != takesFiles[name] {
			t.Errorf("%s: completion of its argument: %d %q: add it to cli/internal/completion", name, code, out)
		}
		if _, out, _ := run(append(append([]string{cobra.ShellCompNoDescRequestCmd}, path...), "--")...); name != "version" && !strings.Contains(out, ":4\n") {
			t.Errorf("%s: completion of its flags: %q", name, out)
		}
	})
	if count < 80 {
		t.Errorf("%d commands only", count)
	}
}

// What is wrong before any daemon is asked has docker's words and code.
func TestWrongUse(t *testing.T) {
	for line, want := range map[string]string{
		"nosuch":                      "1 pier: unknown command: pier nosuch",
		"container nosuch":            "1 pier: unknown command: pier container nosuch",
		"ps --nosuch":                 "125 unknown flag: --nosuch",
		"ps --filter x":               `125 invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)`,
		"ps x":                        "1 pier: 'pier ps' accepts no arguments",
		"rename x":                    "1 pier: 'pier rename' requires 2 arguments",
		"images a b":                  "1 pier: 'pier images' requires at most 1 argument",
		"rm":                          "1 pier: 'pier rm' requires at least 1 argument",
		"top":                         "1 pier: 'pier top' requires at least 1 argument",
		"create --memory x image":     `125 pier: invalid argument "x" for --memory: invalid size: 'x'`,
		"create --restart a --rm i":   "125 pier: conflicting options: cannot specify both --restart and --rm",
		"update --memory x c":         `125 pier: invalid argument "x" for --memory: invalid size: 'x'`,
		"build -t A .":                `125 invalid argument "A" for "-t, --tag" flag: invalid reference format: repository name (A) must be lowercase`,
		"stats --sort x":              `1 invalid argument "x" for --sort`,
		"attach --detach-keys x- c":   "1 invalid detach keys (x-)",
		"start -a --detach-keys xy c": "1 invalid detach keys (xy)",
		"inspect -f {{ x":             "64 template parsing error",
		"history --platform x y":      `125 invalid argument "x" for "--platform" flag: not supported by this version of Pier`,
		"ps":                          "1 cannot connect to the Pier daemon at unix:///nosuch.sock",
		"debug c":                     "125 pier: cannot connect to the Pier daemon",
		"-H ftp://x ps":               "1 unable to parse host",
		"-H /x -c y ps":               "1 conflicting options",
	} {
		code, _, errOut := run(strings.Fields(line)...)
		number, text, _ := strings.Cut(want, " ")
		if got := map[int]string{0: "0", 1: "1", 64: "64", 125: "125"}[code]; got != number || !strings.HasPrefix(errOut, text) {
			t.Errorf("%s: %d %q, want %s", line, code, errOut, want)
		}
	}
}
