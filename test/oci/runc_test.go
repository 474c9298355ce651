package oci

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/id"
	"pier/test/lab"
)

// runtimes are runc, as Debian has it, and ours.
func runtimes(t *testing.T) map[string]string {
	t.Helper()
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal("this test needs runc (it comes with docker.io): ", err)
	}
	return map[string]string{"runc": runc, "pier-runtime": filepath.Join(bin, "pier-runtime")}
}

// side is one of the two runtimes with a bundle and a state folder of its own.
type side struct {
	*testing.T
	program, root, bundle, group string
}

func newSide(t *testing.T, program string) *side {
	t.Helper()
	s := &side{T: t, program: program, root: t.TempDir(), bundle: t.TempDir(), group: "/pier-test-runc-" + id.New()[:8]}
	rootfs := filepath.Join(s.bundle, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", lab.Busybox(t, t.TempDir()), "-C", rootfs).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v: %s", err, out)
	}
	s.run("spec")
	name := filepath.Join(s.bundle, "config.json")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	spec.Process.Terminal, spec.Process.Args, spec.Linux.CgroupsPath = false, []string{"sleep", "1000"}, s.group
	spec.Annotations = map[string]string{"a": "b"}
	if data, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(name, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.run("delete", "--force", "pet") })
	return s
}

// run returns what a command wrote to its two outputs, and its status. What may stay behind does not hold the outputs.
func (s *side) run(args ...string) (out, errs string, code int) {
	s.Helper()
	dir := s.TempDir()
	cmd := exec.Command(s.program, append([]string{"--root", s.root}, args...)...)
	cmd.Dir = s.bundle
	files := [2]*os.File{}
	for i := range files {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			s.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	texts := [2]string{}
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			s.Fatal(err)
		}
		texts[i] = string(b)
	}
	return texts[0], texts[1], cmd.ProcessState.ExitCode()
}

// script is a life of a container, with mistakes. Each step gives the same status with both runtimes, and its output, made
// comparable, is the same.
var script = []struct {
	args   string
	errors bool // the words of the error are compared, too
}{
	{"state pet", true}, {"start pet", true}, {"list", false}, {"list -q", false}, {"create pet", false}, {"create pet", false},
	{"state pet", false}, {"list -f json", false}, {"list", false}, {"start pet", false}, {"start pet", false}, {"state pet", false},
	{"exec pet sh -c 'exit 7'", false}, {"exec -e A=1,2 --cwd /tmp --user 1000:1000 --additional-gids 7 pet sh -c 'echo $A $PWD; id -u; id -g'", false},
	{"exec pet cat /proc/1/environ", false}, {"exec -e B=1 -e A=1 -e B=2 --user 1000:1000 pet env", false}, {"exec -e HOME= pet env", false},
	{"exec -e A pet true", false}, {"exec -e =1 pet true", false}, {"exec -cwd /tmp -env=A=1 pet pwd", false}, {"list -format json", false},
	{"exec pet missing", false}, {"exec --cap CAP_SYS_TIME --no-new-privs pet grep -E 'CapBnd|NoNewPrivs' /proc/self/status", false},
	{"exec --cgroup ../x pet true", false}, {"ps -f json pet", false}, {"ps pet -o pid,args", false}, {"events --stats pet", false},
	{"pause pet", false}, {"state pet", false}, {"pause pet", false}, {"exec pet true", true}, {"resume pet", false}, {"resume pet", true},
	{"update --memory 67108864 --cpu-share 512 --pids-limit 20 pet", false}, {"update --memory x pet", false}, {"update -memory=64m --memory-reservation 1k pet", false},
	{"ps -f yaml pet", false}, {"--log /missing/log list", false}, {"delete pet", false},
	{"kill pet NONSENSE", false}, {"kill pet 0", false}, {"kill pet KILL", false}, {"await", false}, {"kill pet TERM", true}, {"state pet", false},
	{"exec pet true", true}, {"delete pet", false}, {"delete pet", true}, {"delete --force pet", false},
	{"run -d --pid-file pid pet", false}, {"kill --all pet KILL", false}, {"await", false}, {"delete pet", false},
	{"spec", false}, {"create", false}, {"nonsense", false}, {"--log-format xml list", false}, {"create ../pet", false}, {"run -b /missing pet", false},
}

// TestBesideRunc runs the script with runc and with pier-runtime.
func TestBesideRunc(t *testing.T) {
	programs := runtimes(t)
	theirs, ours := newSide(t, programs["runc"]), newSide(t, programs["pier-runtime"])
	for i, step := range script {
		want, wantErr, wantCode := theirs.step(step.args)
		got, gotErr, gotCode := ours.step(step.args)
		if got != want || gotCode != wantCode {
			t.Errorf("step %d, %s:\nrunc's status %d, output %s\nours %d, %s\n(%s | %s)", i, step.args, wantCode, want, gotCode, got, wantErr, gotErr)
		}
		if step.errors && errorWords(gotErr) != errorWords(wantErr) {
			t.Errorf("step %d, %s: error %q, runc's %q", i, step.args, errorWords(gotErr), errorWords(wantErr))
		}
	}
}

func (s *side) step(line string) (out, errs string, code int) {
	s.Helper()
	if line == "await" {
		lab.Eventually(s, "the container's end", func() error {
			if out, _, _ := s.run("state", "pet"); !strings.Contains(out, `"stopped"`) {
				return errors.New(out)
			}
			return nil
		})
		return "", "", 0
	}
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	out, errs, code = s.run(args...)
	return s.comparable(args, out), errs, code
}

var (
	numbers = regexp.MustCompile(`\b[0-9]{3,}\b`)
	times   = regexp.MustCompile(`20[0-9]{2}-[0-9T:.-]+Z`)
	message = regexp.MustCompile(`msg="(.*)"`)
)

// comparable leaves out what differs from run to run: numbers of processes, folders, times, the version, columns' widths. Of
// JSON it leaves the names, and of statistics only those that every kernel has.
func (s *side) comparable(args []string, out string) string {
	var document any
	if slices.Contains(args, "json") || args[0] == "state" || args[0] == "events" {
		if json.Unmarshal([]byte(out), &document) == nil {
			var names []string
			nameAll("", document, &names)
			slices.Sort(names)
			out = strings.Join(names, "\n")
		}
	}
	if strings.HasPrefix(out, "Incorrect Usage") { // runc explains itself at length
		return ""
	}
	out = strings.ReplaceAll(out, s.bundle, "BUNDLE")
	out = times.ReplaceAllString(out, "TIME")
	out = numbers.ReplaceAllString(out, "N")
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// nameAll lists the paths of names in a document, with the values of those that are worth it.
func nameAll(at string, v any, names *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if at == "/data" && (name == "intel_rdt" || name == "network_interfaces" || name == "hugetlb") || at == "/data/memory" && (name == "raw" || name == "cache") {
				continue
			}
			nameAll(at+"/"+name, inner, names)
		}
	case []any:
		if strings.HasPrefix(at, "/data/blkio/") { // whether its files had to be read from a disk
			return
		}
		for _, inner := range v {
			nameAll(at+"/[]", inner, names)
		}
	case string:
		if strings.HasSuffix(at, "/status") || strings.HasSuffix(at, "/id") || strings.HasSuffix(at, "/rootfs") || strings.HasSuffix(at, "/owner") || strings.HasSuffix(at, "/type") {
			at += "=" + v
		}
		*names = append(*names, at)
	default:
		*names = append(*names, at)
	}
}

func errorWords(errs string) string {
	if m := message.FindStringSubmatch(errs); m != nil {
		return m[1]
	}
	return strings.TrimSpace(errs)
}

// TestCommandsAndFlags compares the lists of commands and flags: whatever runc takes is taken.
func TestCommandsAndFlags(t *testing.T) {
	programs := runtimes(t)
	help := func(name string, args ...string) string {
		out, err := exec.Command(programs[name], append(args, "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v --help: %v: %s", name, args, err, out)
		}
		return string(out)
	}
	flag := regexp.MustCompile(`(?m)^ +(?:-., )?--([a-z0-9-]+)`)
	commands := []string{"checkpoint", "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update"}
	for _, c := range append(commands, "") {
		var args []string
		if c != "" {
			args = append(args, c)
		}
		ours := help("pier-runtime", args...)
		for _, m := range flag.FindAllStringSubmatch(help("runc", args...), -1) {
			if !regexp.MustCompile(`--` + m[1] + `\b`).MatchString(ours) {
				t.Errorf("command %q: no flag --%s", c, m[1])
			}
		}
	}
	for _, args := range [][]string{{"--systemd-cgroup", "list"}, {"--rootless", "maybe", "list"}} {
		if out, err := exec.Command(programs["pier-runtime"], args...).CombinedOutput(); err == nil {
			t.Errorf("%v is taken: %s", args, out)
		}
	}
}

// TestFeatures holds what this runtime says of itself against runc's words, and against the specification.
func TestFeatures(t *testing.T) {
	programs := runtimes(t)
	read := func(name string) (f struct {
		OCIVersionMax string
		Hooks         []string
		MountOptions  []string
		Linux         struct {
			Namespaces, Capabilities []string
			Seccomp                  struct{ Actions, Operators, Archs, KnownFlags, SupportedFlags []string }
			MountExtensions          struct{ IDMap struct{ Enabled bool } }
			NetDevices, IntelRdt     struct{ Enabled bool }
			MemoryPolicy             struct{ Modes, Flags []string }
		}
	}) {
		out, err := exec.Command(programs[name], "features").Output()
		if err == nil {
			err = json.Unmarshal(out, &f)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		return f
	}
	theirs, ours := read("runc"), read("pier-runtime")
	for _, list := range []struct {
		what         string
		theirs, ours []string
	}{
		{"hooks", theirs.Hooks, ours.Hooks}, {"mount options", theirs.MountOptions, ours.MountOptions}, {"namespaces", theirs.Linux.Namespaces, ours.Linux.Namespaces},
		{"capabilities", theirs.Linux.Capabilities, ours.Linux.Capabilities}, {"actions", theirs.Linux.Seccomp.Actions, ours.Linux.Seccomp.Actions},
		{"operators", theirs.Linux.Seccomp.Operators, ours.Linux.Seccomp.Operators}, {"architectures", theirs.Linux.Seccomp.Archs, ours.Linux.Seccomp.Archs},
	} {
		for _, word := range list.theirs {
			// The kernel has access control lists everywhere; some file systems take the two words as theirs.
			if !slices.Contains(list.ours, word) && word != "acl" && word != "noacl" {
				t.Errorf("%s: no %s", list.what, word)
			}
		}
	}
	l := ours.Linux
	if ours.OCIVersionMax != specs.Version || !slices.Contains(l.Namespaces, "time") || !l.MountExtensions.IDMap.Enabled || !l.NetDevices.Enabled || l.IntelRdt.Enabled ||
		len(l.MemoryPolicy.Modes) != 7 || len(l.MemoryPolicy.Flags) != 3 || len(l.Seccomp.KnownFlags) != 4 || !slices.Contains(l.Seccomp.SupportedFlags, "SECCOMP_FILTER_FLAG_LOG") {
		t.Errorf("features: %+v", ours)
	}
	for _, option := range []string{"idmap", "ridmap", "tmpcopyup", "remount", "nosymfollow", "rnorelatime", "dirsync", "lazytime", "nolazytime", "mand", "iversion"} {
		if !slices.Contains(ours.MountOptions, option) {
			t.Errorf("mount options: no %s", option)
		}
	}
}
