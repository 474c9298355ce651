//go:build !linux || !(amd64 || arm64)

package reaper

import (
	"os"
	"runtime"

	"pier/lib/errkind"
)

// Open always fails here: the program exists for amd64 and arm64.
func Open() (*os.File, error) {
	return nil, errkind.New(errkind.Unsupported, "an init in the container on %s: only amd64 and arm64 have one", runtime.GOARCH)
}
