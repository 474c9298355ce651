package custody

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/api/shim"
	"pier/kernel/pipe"
)

// longCounter writes numbered lines, each a good deal longer than a FIFO holds, to both streams.
const longCounter = `i=0; while [ $i -lt %d ]; do i=$((i+1)); for to in 1 2; do { head -c 300000 /dev/zero | tr '\0' x; echo $i; } >&$to; done; done; exit 5`

// killAgain kills the supervisor time and again until stop is called, which returns how often.
func (b *bench) killAgain() (stop func() int) {
	over, killed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { killed <- n }()
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(3+n%7*5) * time.Millisecond):
			}
			old := b.SupervisorPid()
			killHard(b.t.(*testing.T), old)
			n++
			for i := 0; b.SupervisorPid() == old || i == 0; i++ {
				if _, err := b.Tasks(ctx(b.t)); err != nil {
					b.t.Error(err)
					return
				}
			}
		}
	}()
	return func() int {
		close(over)
		return <-killed
	}
}

// rotated returns the text of a log by stream, over all of its files.
func rotated(t *testing.T, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i := 99; i >= 0; i-- {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		part := map[string]string{}
		if _, err := os.Stat(name); err == nil {
			part = readLog(t, name)
		} else if f, err := os.Open(name + ".gz"); err == nil {
			r, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			plain := filepath.Join(t.TempDir(), "plain")
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(plain, text, 0o600); err != nil {
				t.Fatal(err)
			}
			f.Close()
			part = readLog(t, plain)
		}
		for stream, text := range part {
			out[stream] += text
		}
	}
	return out
}

// TestLogsKilled kills the supervisor while logs of several kinds are written: no line is lost, doubled or torn.
func TestLogsKilled(t *testing.T) {
	for name, tt := range map[string]struct {
		log   shim.Log
		args  []string
		lines int
	}{
		"long":        {args: []string{"sh", "-c", fmt.Sprintf(longCounter, 25)}, lines: 25},
		"nonblocking": {log: shim.Log{Buffer: 64 << 20}, args: count(20000), lines: 20000},
		"longring":    {log: shim.Log{Buffer: 64 << 20}, args: []string{"sh", "-c", fmt.Sprintf(longCounter, 25)}, lines: 25},
		"rotated":     {log: shim.Log{MaxSize: 200000, MaxFiles: 99, Compress: true}, args: count(20000), lines: 20000},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := b.request("c", shim.Stdio{}, tt.args...)
			path := r.Log.Path
			r.Log = tt.log
			r.Log.Path = path
			if _, err := b.Start(ctx(t), r, nil, nil); err != nil {
				t.Fatal(err)
			}
			stop := b.killAgain()
			e := b.exit(shim.TaskRef{ID: "c"})
			t.Logf("supervisor killed %d times", stop())
			if e.Code != 5 || e.Unknown {
				t.Errorf("exit %+v", e)
			}
			log := rotated(t, path)
			for _, stream := range []string{"stdout", "stderr"} {
				text := strings.ReplaceAll(log[stream], strings.Repeat("x", 300000), "")
				if n := numbered(t, text); n != tt.lines {
					t.Errorf("%s: %d lines, not %d", stream, n, tt.lines)
				}
			}
		})
	}
}

// TestLongLine wants a line of 1 MiB in one entry, and one that is longer cut as rarely as can be.
func TestLongLine(t *testing.T) {
	b := newBench(t)
	for name, log := range map[string]shim.Log{"blocking": {}, "ring": {Buffer: 8 << 20}} {
		r := b.request(name, shim.Stdio{}, "sh", "-c", "head -c 1048575 /dev/zero | tr '\\0' a; echo; head -c 2500000 /dev/zero | tr '\\0' b; echo; echo -n rest")
		log.Path = r.Log.Path
		r.Log = log
		if _, err := b.Start(ctx(t), r, nil, nil); err != nil {
			t.Fatal(err)
		}
		b.exit(shim.TaskRef{ID: name})
		text, err := os.ReadFile(log.Path)
		if err != nil {
			t.Fatal(err)
		}
		var lengths []int
		for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
			var e struct{ Log string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%.80s: %v", line, err)
			}
			lengths = append(lengths, len(e.Log))
		}
		if got := fmt.Sprint(lengths); got != "[1048576 1048576 1048576 402849 4]" {
			t.Errorf("%s: entries of %s bytes", name, got)
		}
	}
}

// TestSlowLog has a log that takes nothing: a FIFO that nobody reads. A container that may wait waits for it and loses
// nothing; one that must not goes on, and its log then lacks the oldest lines that found no room, and says so.
func TestSlowLog(t *testing.T) {
	b := newBench(t)
	const script = "seq 300000; true >/tmp/%s"
	for name, buffer := range map[string]int64{"waits": 0, "goeson": 1 << 20} {
		r := b.request(name, shim.Stdio{}, "sh", "-c", fmt.Sprintf(script, name))
		r.Log.Buffer = buffer
		log, err := pipe.Create(r.Log.Path, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		if _, err := b.Start(ctx(t), r, nil, nil); err != nil {
			t.Fatal(err)
		}
		written := func() bool {
			_, err := os.Stat(filepath.Join(b.rootfs, "tmp", name))
			return err == nil
		}
		if buffer == 0 {
			for pipe.Buffered(log) < 32<<10 { // the log is about to be full
				time.Sleep(time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond)
			if written() {
				t.Error("it did not wait for its log")
			}
		} else {
			for deadline := time.Now().Add(2 * time.Minute); !written(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it waits for its log")
				}
			}
		}
		last, gap := 0, false
		for s := bufio.NewScanner(log); last < 300000 && s.Scan(); {
			var e struct{ Log string }
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Fatalf("%q: %v", s.Text(), err)
			}
			if strings.HasPrefix(e.Log, "pier: ") && strings.Contains(e.Log, "bytes of output are missing here: the log is too slow") {
				gap = true
				continue
			}
			n := 0
			if _, err := fmt.Sscanf(e.Log, "%d\n", &n); err != nil || n != last+1 && !(buffer > 0 && n > last) {
				t.Fatalf("%s: %q after %d", name, e.Log, last)
			}
			last = n
		}
		if gap != (buffer > 0) || last != 300000 {
			t.Errorf("%s: up to %d, a gap: %v", name, last, gap)
		}
		if e := b.exit(shim.TaskRef{ID: name}); e.Code != 0 {
			t.Errorf("exit %+v", e)
		}
	}
}

// TestFullDisk fills the disk of a log: the container goes on, what is in the log stays whole, and once there is room
// again the log says what is missing and goes on too.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "pier-test", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, buffer := range map[string]int64{"direct": 0, "ring": 1 << 20} {
		if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		r := b.request(name, shim.Stdio{}, "sh", "-c", "seq 50000; true >/tmp/"+name+"; while ! test -e /tmp/room; do sleep 0.01; done; seq 10")
		r.Log = shim.Log{Path: filepath.Join(disk, name), Buffer: buffer}
		if _, err := b.Start(ctx(t), r, nil, nil); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(b.rootfs, "tmp", name)); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the container is stuck")
			}
		}
		before := readLog(t, r.Log.Path)["stdout"]
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		room := filepath.Join(b.rootfs, "tmp/room")
		if err := os.WriteFile(room, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if e := b.exit(shim.TaskRef{ID: name}); e.Code != 0 {
			t.Errorf("%s: exit %+v", name, e)
		}
		log := readLog(t, r.Log.Path)
		if !strings.HasPrefix(log["stdout"], before) || !strings.HasSuffix(log["stdout"], "\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n") {
			t.Errorf("%s: after there was room again: ... %q", name, log["stdout"][max(0, len(log["stdout"])-100):])
		}
		if !strings.Contains(log["stderr"], "bytes of output are missing here: no space left on device\n") {
			t.Errorf("%s: %q", name, log["stderr"])
		}
		// Its exit is told before its log is closed, and the disk can only be unmounted after that.
		if err := b.Delete(ctx(t), shim.TaskRef{ID: name}); err != nil {
			t.Error(err)
		}
		for _, path := range []string{room, r.Log.Path} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if text, err := os.ReadFile(filepath.Join(b.root, "supervisor.log")); err != nil || !strings.Contains(string(text), "log lines of task are lost") ||
		!strings.Contains(string(text), "log of task is written again") {
		t.Errorf("supervisor.log: %s, %v", text, err)
	}
}
