package rules

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.." // of the repository

func TestRepository(t *testing.T) {
	tree, err := Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Folders) == 0 {
		t.Fatal("no source found")
	}
	for name, rule := range Rules {
		t.Run(name, func(t *testing.T) {
			for _, v := range rule(tree) {
				t.Error(v)
			}
		})
	}
}

func TestPrograms(t *testing.T) {
	for program := range bans {
		t.Run(program, func(t *testing.T) {
			cmd := exec.Command("go", "list", "-deps", "./"+program)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list: %v\n%s", err, stderr.String())
			}
			for _, v := range Dependencies(program, strings.Fields(string(out))) {
				t.Error(v)
			}
		})
	}
}

// TestRulesCatch reads testdata/*.txt: "want" lines, each a rule and a position, then files after "-- name --" lines
// ("-- name xN --" repeats the next line N times). The rules named must find exactly that.
func TestRulesCatch(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	proved := make(map[string]bool)
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			want, files := parseScript(t, script)
			tree, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			rules := make(map[string]bool)
			for _, line := range want {
				rule, _, _ := strings.Cut(line, " at ")
				rules[rule], proved[rule] = true, true
			}
			for rule := range rules {
				if Rules[rule] == nil {
					t.Fatalf("no rule %q", rule)
				}
				for _, v := range Rules[rule](tree) {
					if v.Reason == "" || v.Remedy == "" || v.Rule != rule {
						t.Errorf("%v: rule, reason or remedy is missing", v)
					}
					got = append(got, v.Rule+" at "+v.Position)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
		})
	}
	for name := range Rules {
		if !proved[name] {
			t.Errorf("no script proves the rule %q", name)
		}
	}
}

func parseScript(t *testing.T, name string) (want []string, files fstest.MapFS) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files = make(fstest.MapFS)
	current, repeat := "", 1
	for line := range strings.Lines(string(b)) {
		if inner, ok := strings.CutPrefix(line, "-- "); ok {
			inner = strings.TrimSuffix(strings.TrimSpace(inner), " --")
			repeat = 1
			if file, times, ok := strings.Cut(inner, " x"); ok {
				inner = file
				if _, err := fmt.Sscan(times, &repeat); err != nil {
					t.Fatal(err)
				}
			}
			if current = inner; files[current] == nil {
				files[current] = &fstest.MapFile{}
			}
			continue
		}
		if current == "" {
			if rule, ok := strings.CutPrefix(line, "want "); ok {
				want = append(want, strings.TrimSpace(rule))
			}
			continue
		}
		files[current].Data = append(files[current].Data, strings.Repeat(line, repeat)...)
	}
	return want, files
}

func TestDependencies(t *testing.T) {
	got := Dependencies("cmd/pier", []string{"fmt", "google.golang.org/grpc/codes", "google.golang.org/grpc", "pier/daemon/engine", "pier/client", "google.golang.org/grpcish"})
	if len(got) != 2 || !strings.Contains(got[0].Reason, "grpc/codes") || !strings.Contains(got[1].Reason, "pier/daemon/engine") {
		t.Errorf("found %v", got)
	}
	if got := Dependencies("cmd/pierd", []string{"pier/daemon", "go.etcd.io/bbolt", "pier/kernel/mount"}); len(got) != 0 {
		t.Errorf("found %v", got)
	}
}
