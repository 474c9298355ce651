// Package runtimetest has pier-runtime for tests that start containers.
//
// Start reading at Main.
package runtimetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Main runs the tests of a package with *binary, a pier-runtime that is built on the spot and removed afterwards, and
// returns the exit code. A virtual machine has no Go: there it is the one in the folder PIER_BIN.
func Main(m *testing.M, binary *string) int {
	if bin := os.Getenv("PIER_BIN"); bin != "" && os.Getenv("PIER_TEST_VM") != "" {
		*binary = filepath.Join(bin, "pier-runtime")
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "pier-runtime-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*binary = filepath.Join(dir, "pier-runtime")
	build := exec.Command("go", "build", "-o", *binary, "pier/cmd/pier-runtime")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build pier-runtime: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
