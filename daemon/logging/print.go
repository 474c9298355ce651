package logging

import (
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Printer writes entries as GET /containers/{id}/logs answers with them.
type Printer struct {
	// Terminal has lines written raw; otherwise in Docker's stream frames: the number of the stream, three zero bytes, four
	// bytes of length, big endian, and the text.
	Terminal       bool
	Stdout, Stderr bool // which streams
	Timestamps     bool
	Details        bool
	Since, Until   time.Time // zero: no bound

	buffer []byte
	inside [3]bool // by stream: the last entry was the first part of a long line
}

// timeForm has nine digits always, so that columns align.
const timeForm = "2006-01-02T15:04:05.000000000Z07:00"

// cutAt is how long an entry without a newline is at least if it was cut from a longer line: Docker's own cut.
const cutAt = 16 << 10

const (
	stdout    = 1
	stderr    = 2
	frameHead = 8
)

// Print writes e to w, unless it was not asked for. It reports true once an entry is younger than Until.
func (p *Printer) Print(w io.Writer, e *Entry) (past bool, err error) {
	if !p.Until.IsZero() && e.Time.After(p.Until) {
		return true, nil
	}
	stream := stdout
	if e.Stream == "stderr" {
		stream = stderr
	}
	if stream == stdout && !p.Stdout || stream == stderr && !p.Stderr || e.Time.Before(p.Since) {
		return false, nil
	}
	b := p.buffer[:0]
	if !p.Terminal {
		b = append(b, byte(stream), 0, 0, 0, 0, 0, 0, 0)
	}
	if !p.inside[stream] { // the rest of a long line gets no second time
		if p.Timestamps {
			b = append(e.Time.AppendFormat(b, timeForm), ' ')
		}
		if p.Details {
			b = append(append(b, details(e.Attrs)...), ' ')
		}
	}
	p.inside[stream] = len(e.Log) >= cutAt && e.Log[len(e.Log)-1] != '\n'
	b = append(b, e.Log...)
	if !p.Terminal {
		n := len(b) - frameHead
		b[4], b[5], b[6], b[7] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	}
	p.buffer = b
	_, err = w.Write(b)
	return false, err
}

func details(attrs map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out = append(out, url.QueryEscape(k)+"="+url.QueryEscape(attrs[k]))
	}
	return strings.Join(out, ",")
}
