//go:build !linux || !(amd64 || arm64)

package spawn

import (
	"runtime"
	"sync/atomic"

	"pier/lib/errkind"
)

type childIDs struct{ pid, pidfd atomic.Int32 }

// Supported reports whether this package can start processes on this architecture.
const Supported = false

// Run always fails here: the interpreter exists for amd64 and arm64.
func (l *List) Run(Options) (*Child, error) {
	return nil, errkind.New(errkind.Unsupported, "start a process on %s: only amd64 and arm64 are built", runtime.GOARCH)
}

// Child returns 0: there never is one.
func (l *List) Child() (pid int) { return 0 }
