package memory

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestTrim(t *testing.T) {
	before := fileRSS(t)
	if err := Trim(); err != nil {
		t.Fatal(err)
	}
	if after := fileRSS(t); after >= before {
		t.Errorf("pages of files: %d kB before, %d kB after", before, after)
	}
}

// fileRSS is how much of files this process maps, in kB.
func fileRSS(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not tell RssFile")
	return 0
}
