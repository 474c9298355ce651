package api

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin is the folder with the programs under test, built once.
var bin string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "pier-bin-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, program := range []string{"pierd", "pier-runtime"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, program), "pier/cmd/"+program)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	bin = dir
	return m.Run(), nil
}
