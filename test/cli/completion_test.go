package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pier/test/lab"
)

// The scripts that `pier completion` prints, loaded by the shells that they are for: a key pressed there completes.
func TestCompletion(t *testing.T) {
	d := lab.Start(t, bin)
	d.Pier("import", lab.Busybox(t, t.TempDir()), "busybox")
	d.Pier("create", "--name", "completed", "busybox", "true")
	t.Cleanup(func() { d.Pier("rm", "completed") })
	home := t.TempDir()
	run := func(input, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(d.Env(), "HOME="+home, "ZDOTDIR="+home, "TERM=dumb")
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	script := func(shell string) string {
		path := filepath.Join(home, "pier."+shell)
		if err := os.WriteFile(path, []byte(d.Pier("completion", shell)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// A tab completes the name, the line is run, and the daemon knows the container.
	for shell, prepare := range map[string]string{
		"bash --norc -i": "bind 'set enable-bracketed-paste off'; . /usr/share/bash-completion/bash_completion; . " + script("bash"),
		"zsh -f -i":      "autoload -Uz compinit; compinit -u -D; . " + script("zsh"),
	} {
		out := run(prepare+"\npier inspect -f '<{{.Name}}>' compl\t\nexit\n", "script", "-qec", shell, "/dev/null")
		if !strings.Contains(out, "</completed>") {
			t.Errorf("%s did not complete a container:\n%s", shell, out)
		}
	}
	for typed, want := range map[string]string{"pier start compl": "completed", "pier run --pull al": "always", "pier network rm br": "bridge", "pier conte": "context", "pier checkpoint cr": "create", "pier stats --no-s": "--no-stream"} {
		out := run("", "fish", "--no-config", "-c", ". "+script("fish")+"; complete -C '"+typed+"'")
		if word, _, _ := strings.Cut(out, "\t"); strings.TrimSpace(word) != want {
			t.Errorf("fish: %q is completed to %q, want %s", typed, out, want)
		}
	}
}
