package self

import (
	"bytes"
	"os"
	"strconv"
	"sync"
)

// Ignored returns the signals that this process ignored when it was first asked: what it inherited, for instance from
// nohup or a shell that started it in the background. Ignoring passes through clone and execve, so a new process that
// should begin like any other has to undo it. Read from /proc/self/status; nothing if that cannot be read.
var Ignored = sync.OnceValue(func() (signals []int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(status) {
		value, ok := bytes.CutPrefix(line, []byte("SigIgn:"))
		if !ok {
			continue
		}
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		for n := 1; err == nil && n <= 64; n++ {
			if mask&(1<<(n-1)) != 0 {
				signals = append(signals, n)
			}
		}
	}
	return signals
})
