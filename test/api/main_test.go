package api

import (
	"fmt"
	"os"
	"testing"

	"pier/test/lab"
)

// bin is the folder with the programs under test.
var bin string

func TestMain(m *testing.M) {
	dir, remove, err := lab.Programs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	remove()
	os.Exit(code)
}
