package link

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Traffic is what one link has carried since it was made.
type Traffic struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Meter reads the traffic of all links of one process's network namespace. It holds the process, not the namespace, so
// that a namespace goes with its last process. Not for concurrent use.
type Meter struct {
	dir       int // of the process in /proc: it never becomes another process with the same number
	buf, last []byte
	traffic   map[string]Traffic // what last says
}

// OpenMeter prepares to read in the namespace of the process pid, which must be the caller's to know alive.
func OpenMeter(pid int) (*Meter, error) {
	dir, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errkind.New(errkind.NotFound, "measure the network of process %d: %w", pid, err)
	}
	return &Meter{dir: dir, buf: make([]byte, 4096)}, nil
}

// Close lets the process go.
func (m *Meter) Close() error { return unix.Close(m.dir) }

// Read returns the traffic by name of link, without the loopback, and whether it is another than the last time. The map is
// the caller's to read, not to change. NotFound where the process is gone.
func (m *Meter) Read() (traffic map[string]Traffic, changed bool, err error) {
	fd, err := unix.Openat(m.dir, "net/dev", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // EINVAL: a zombie has none
			return nil, false, errkind.New(errkind.NotFound, "measure network: the process is gone")
		}
		return nil, false, &os.PathError{Op: "open", Path: "net/dev", Err: err}
	}
	defer unix.Close(fd)
	text := m.buf[:0]
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false, &os.PathError{Op: "read", Path: "net/dev", Err: err}
		}
		if n == 0 {
			break
		}
		text = text[:len(text)+n]
	}
	m.buf = text[:cap(text)]
	if m.last != nil && bytes.Equal(text, m.last) {
		return m.traffic, false, nil
	}
	m.last, m.traffic = append(m.last[:0], text...), parseTraffic(text)
	return m.traffic, true, nil
}

// parseTraffic reads net/dev: two lines of titles, then "name: 8 numbers received, 8 sent". Names may hold anything but
// spaces, colons included.
func parseTraffic(text []byte) map[string]Traffic {
	var out map[string]Traffic
	for line := range bytes.Lines(text) {
		at := bytes.LastIndexByte(line, ':')
		if at < 0 {
			continue
		}
		name, fields := string(bytes.TrimSpace(line[:at])), strings.Fields(string(line[at+1:]))
		if len(fields) < 16 || name == "lo" {
			continue
		}
		var n [16]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(fields[i], 10, 64)
		}
		if out == nil {
			out = map[string]Traffic{}
		}
		out[name] = Traffic{RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11]}
	}
	return out
}
