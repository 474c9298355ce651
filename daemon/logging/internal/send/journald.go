package send

import (
	"context"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// journalSocket is where systemd's journal takes entries (its native protocol).
const journalSocket = "/run/systemd/journal/socket"

// HasJournal reports whether there is a journal on this machine.
func HasJournal() bool {
	_, err := os.Stat(journalSocket)
	return err == nil
}

// maxField bounds the text of one entry: an entry is one datagram, which the kernel bounds by its send buffer.
const maxField = 128 << 10

type journald struct {
	wire
	fixed []byte // fields that are the same in all entries
	id    string
	line  int // counts lines that came in several entries
	part  int // of the line that is not complete, from 1; 0: none
	buf   []byte
}

func newJournald(socket string, c Container) Sender {
	j := &journald{id: c.ID}
	j.dial = plainDial("unixgram", socket)
	own := map[string]bool{"MESSAGE": true, "PRIORITY": true, "SYSLOG_TIMESTAMP": true}
	add := func(name, value string) {
		own[name] = true
		j.fixed = appendField(j.fixed, name, value)
	}
	add("CONTAINER_ID", c.ID[:min(12, len(c.ID))])
	add("CONTAINER_ID_FULL", c.ID)
	add("CONTAINER_NAME", c.Name)
	add("CONTAINER_TAG", c.Tag)
	add("IMAGE_NAME", c.ImageName)
	add("SYSLOG_IDENTIFIER", c.Tag)
	for _, k := range slices.Sorted(maps.Keys(c.Extra)) {
		// An image's label passes neither for what says where an entry comes from nor for another of the entry's fields.
		if name := fieldName(k); name != "" && !own[name] && !strings.HasPrefix(name, "CONTAINER_PARTIAL_") {
			add(name, c.Extra[k])
		}
	}
	return j
}

// fieldName makes of a label's name what the journal takes for a field: capitals, digits and underscores, none of the
// latter two in front. "" where nothing is left.
func fieldName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, "_0123456789")
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

func (j *journald) Send(ctx context.Context, batch []Message) (int, error) {
	for i, m := range batch {
		for text := m.Text; ; {
			n := min(len(text), maxField)
			last := n == len(text)
			if err := j.entry(ctx, m, string(text[:n]), last && !m.Partial); err != nil {
				return i, err
			}
			if text = text[n:]; last {
				break
			}
		}
	}
	return len(batch), nil
}

// entry sends one entry; whole says that a line ends with it.
func (j *journald) entry(ctx context.Context, m Message, text string, whole bool) error {
	priority := severityInfo
	if m.Stderr {
		priority = severityError
	}
	b := append(j.buf[:0], j.fixed...)
	b = appendField(b, "PRIORITY", strconv.Itoa(priority))
	b = appendField(b, "SYSLOG_TIMESTAMP", m.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00"))
	line, part := j.line, j.part
	if !whole || part > 0 {
		if part++; part == 1 {
			line++
		}
		if !whole {
			b = appendField(b, "CONTAINER_PARTIAL_MESSAGE", "true")
		}
		b = appendField(b, "CONTAINER_PARTIAL_ID", j.id[:min(12, len(j.id))]+"-"+strconv.Itoa(line))
		b = appendField(b, "CONTAINER_PARTIAL_ORDINAL", strconv.Itoa(part))
		b = appendField(b, "CONTAINER_PARTIAL_LAST", strconv.FormatBool(whole))
	}
	b = appendField(b, "MESSAGE", text)
	j.buf = b
	if err := j.write(ctx, b); err != nil {
		return err
	}
	if j.line, j.part = line, part; whole {
		j.part = 0
	}
	return nil
}
