package oci

import (
	"testing"

	"pier/test/lab"
)

// bin is the folder with the programs under test.
var bin string

func TestMain(m *testing.M) { lab.Main(m, &bin) }
