package cli

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pier/test/lab"
)

// notTaken are commands that docker has in the groups that are compared, and pier has not.
var notTaken = map[string]string{
	"image push": "there is no push yet",
}

// gone are flags that only older versions of docker have.
var gone = []string{"kernel-memory", "kubernetes", "kubeconfig", "default-stack-orchestrator"}

var (
	commandLine = regexp.MustCompile(`^  ([a-z-]+)\*? +\S`)
	flagLine    = regexp.MustCompile(`^ +(?:-(\w), )?--([a-z0-9-]+)`)
	aliasBlock  = regexp.MustCompile(`(?m)^Aliases:\n +(.*)`)
)

// page is what `--help` says of a command.
type page struct {
	commands, aliases []string
	flags             map[string]string // the short form of each, "" for none
}

func helpOf(t *testing.T, program string, path ...string) page {
	t.Helper()
	out, err := exec.Command(program, append(slices.Clone(path), "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v --help: %v\n%s", program, path, err, out)
	}
	p := page{flags: map[string]string{}}
	list := false
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasSuffix(line, "Commands:\n"):
			list = true
		case strings.TrimSpace(line) == "":
			list = false
		case list:
			if m := commandLine.FindStringSubmatch(line); m != nil {
				p.commands = append(p.commands, m[1])
			}
		default:
			if m := flagLine.FindStringSubmatch(line); m != nil {
				p.flags[m[2]] = m[1]
			}
		}
	}
	if m := aliasBlock.FindSubmatch(out); m != nil {
		for name := range strings.SplitSeq(string(m[1]), ", ") {
			_, rest, whole := strings.Cut(name, " ")
			if !whole { // docker before 23
				rest = strings.Join(append(slices.Clone(path[:len(path)-1]), name), " ")
			}
			p.aliases = append(p.aliases, rest)
		}
	}
	return p
}

// TestEveryFlag compares the help of docker with pier's: every command of these groups, the names by which it can be called,
// and every flag with its short form, shown or not. What a flag asks for may be refused, in words of its own.
func TestEveryFlag(t *testing.T) {
	t.Setenv("DOCKER_HOST", lab.Start(t, bin).Host()) // of a daemon that it cannot ask docker shows what is for swarms too
	pier := filepath.Join(bin, "pier")
	compared := 0
	compare := func(path ...string) {
		name := strings.Join(path, " ")
		theirs, ours := helpOf(t, "docker", path...), helpOf(t, pier, path...)
		for _, alias := range theirs.aliases {
			if got := helpOf(t, pier, strings.Fields(alias)...); len(got.flags) != len(ours.flags) {
				t.Errorf("%s: %s is not the same command", name, alias)
			}
		}
		for flag, short := range theirs.flags {
			compared++
			if slices.Contains(gone, flag) {
				continue
			}
			if is, shown := ours.flags[flag]; shown && is != short {
				t.Errorf("%s: --%s has the short form %q, docker's %q", name, flag, is, short)
			} else if shown {
				continue
			}
			out, _ := exec.Command(pier, append(path, "--"+flag+"=x", "--help")...).CombinedOutput()
			if strings.Contains(string(out), "unknown flag") {
				t.Errorf("%s: there is no --%s", name, flag)
			}
		}
	}
	for _, group := range []string{"checkpoint", "container", "image", "network", "volume", "system", "context", "builder"} {
		ours := helpOf(t, pier, group).commands
		for _, command := range helpOf(t, "docker", group).commands {
			name := group + " " + command
			if _, known := notTaken[name]; known {
				continue
			}
			if !slices.Contains(ours, command) {
				t.Errorf("there is no %s", name)
				continue
			}
			compare(group, command)
			if group == "container" && command != "prune" && command != "ls" && command != "inspect" {
				compare(command) // its name at the top level
			}
		}
	}
	for _, command := range []string{"ps", "inspect", "events", "info", "version", "images", "rmi", "build", "history", "load", "pull", "save", "import", "tag"} {
		compare(command)
	}
	if compared < 400 {
		t.Errorf("only %d flags were compared", compared)
	}
}
