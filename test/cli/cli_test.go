package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pier/test/lab"
)

var bin string

func TestMain(m *testing.M) { lab.Main(m, &bin) }

// TestScripts runs every script in testdata twice: with pier, and with the stock docker command against the same kind
// of daemon. What stands in a script holds for both.
func TestScripts(t *testing.T) {
	for _, program := range []string{"pier", "docker"} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); program == "docker" && err != nil {
				t.Fatal("the docker command is missing: install Debian's docker.io")
			}
			d := lab.Start(t, bin)
			root := lab.Busybox(t, t.TempDir())
			d.Pier("import", "-c", "CMD [\"sh\"]", root, "busybox")
			testscript.RunT(serial{t}, testscript.Params{
				Dir: "testdata",
				Setup: func(e *testscript.Env) error {
					for _, pair := range d.Env() {
						key, value, _ := strings.Cut(pair, "=")
						if strings.HasPrefix(key, "PIER_") || strings.HasPrefix(key, "DOCKER_") || key == "PATH" {
							e.Setenv(key, value)
						}
					}
					e.Setenv("CLI", program)
					port := lab.FreePorts(t, 2)
					e.Setenv("PORT", strconv.Itoa(port))
					e.Setenv("PORT2", strconv.Itoa(port+1))
					e.Setenv("ROOT", root)
					e.Setenv("HOME", e.WorkDir)
					return nil
				},
				Condition: func(c string) (bool, error) {
					if c == "pier" || c == "docker" {
						return c == program, nil
					}
					return false, fmt.Errorf("unknown condition %s", c)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"cli": cli, "wait-for": waitFor, "sh": shell},
			})
			// Scripts remove what they make; the daemon must agree.
			if left := d.Pier("ps", "-aq"); left != "" {
				t.Errorf("containers left by the scripts: %s", left)
			}
		})
	}
}

// serial runs scripts one after the other: they share a daemon.
type serial struct{ *testing.T }

func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}
func (s serial) Parallel()     {}
func (s serial) Verbose() bool { return testing.Verbose() }
func (s serial) FailNow()      { s.T.FailNow() }
func (s serial) Fatal(a ...any) {
	s.T.Helper()
	s.T.Fatal(a...)
}

// cli runs the program under test: cli [CODE] ARG... The exit code must be CODE, or 0.
func cli(ts *testscript.TestScript, negate bool, args []string) {
	want := 0
	if len(args) > 0 {
		if n, err := strconv.Atoi(args[0]); err == nil {
			want, args = n, args[1:]
		}
	}
	if negate || len(args) == 0 {
		ts.Fatalf("usage: cli [CODE] ARG...")
	}
	code := 0
	if err := ts.Exec(ts.Getenv("CLI"), args...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// seeing is for commands that use a terminal: see TEXT [FILE] waits until the file, out unless another is named, has shown it.
const seeing = `
see() {
	for _ in $(seq 2000); do
		if grep -q -e "$1" "${2-out}" 2>/dev/null; then return; fi
		sleep 0.05
	done
	echo "never seen: $1" | tee -a "${2-out}" >&2
}
`

// bounded is a shell command that ends in any case: one that waits in vain must not take the other tests' results with it.
func bounded(commands string) []string {
	return []string{"timeout", "-k", "10", "300", "bash", "-euo", "pipefail", "-c", seeing + commands}
}

// shell runs a shell command with the script's environment, for at most five minutes: sh 'COMMAND'.
func shell(ts *testscript.TestScript, negate bool, args []string) {
	command := bounded(strings.Join(args, " "))
	err := ts.Exec(command[0], command[1:]...)
	if (err != nil) != negate {
		ts.Fatalf("sh %s: %v\nstderr: %s", strings.Join(args, " "), err, ts.ReadFile("stderr"))
	}
}

// waitFor repeats a shell command until it succeeds, for at most two minutes.
func waitFor(ts *testscript.TestScript, negate bool, args []string) {
	if err := ts.Exec("bash", "-c", "while [ $SECONDS -lt 120 ]; do ("+strings.Join(args, " ")+") && exit 0; sleep 0.05; done; exit 1"); err != nil {
		ts.Fatalf("waited in vain for %s\n%s", strings.Join(args, " "), ts.ReadFile("stderr"))
	}
}
