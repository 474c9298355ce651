package shim

import (
	"bytes"
	"encoding/binary"
	"time"
)

// Log says where and how the supervisor writes output. Path empty: nowhere. The format is one JSON object a line,
// {"log":..., "stream":"stdout"|"stderr", "time":RFC3339Nano}, as Docker's json-file driver.
//
// A field added later is optional: its zero value means what was done before there was one, so that both sides can be of
// different age.
type Log struct {
	Path     string            `json:"path,omitempty"`
	MaxSize  int64             `json:"maxSize,omitempty"`  // bytes before the file is rotated to Path.1; 0: never
	MaxFiles int               `json:"maxFiles,omitempty"` // files kept, the live one included; 0 means 1
	Attrs    map[string]string `json:"attrs,omitempty"`    // "attrs" of every line (labels and env asked for by log options)
	// Compress makes of Path.1 and so on, some time after the rotation, Path.1.gz (see PackedSuffix).
	Compress bool `json:"compress,omitempty"`
	// Buffer, if not 0, is the size in bytes of a ring between the task and the log: a log that is slow does not hold the
	// task up, the oldest output in the ring is dropped instead. 0: the task waits for its log.
	Buffer int64 `json:"buffer,omitempty"`
}

// LogTrouble tells that output of a container cannot be written to its log, and is lost; Reason "" tells that it can again.
type LogTrouble struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
}

// PackedSuffix ends the name of a rotated log that is compressed: a file as lib/gzblock writes it, each of whose blocks
// has a LogNote and ends with the end of an entry.
const PackedSuffix = ".gz"

// LogNote is the note of one block of a compressed log.
type LogNote struct {
	First, Last time.Time // of its entries; zero where they are not ours
	Entries     int
}

const noteLen = 24

// Append appends the note as three little endian numbers: the times in ns since 1970, 0 for zero, and the entries.
func (n LogNote) Append(dst []byte) []byte {
	for _, t := range []time.Time{n.First, n.Last} {
		ns := int64(0)
		if !t.IsZero() {
			ns = t.UnixNano()
		}
		dst = binary.LittleEndian.AppendUint64(dst, uint64(ns))
	}
	return binary.LittleEndian.AppendUint64(dst, uint64(n.Entries))
}

// ParseLogNote reads what Append wrote; false: it is something else.
func ParseLogNote(b []byte) (n LogNote, ok bool) {
	if len(b) != noteLen {
		return n, false
	}
	for i, t := range []*time.Time{&n.First, &n.Last} {
		if ns := int64(binary.LittleEndian.Uint64(b[8*i:])); ns != 0 {
			*t = time.Unix(0, ns).UTC()
		}
	}
	n.Entries = int(binary.LittleEndian.Uint64(b[16:]))
	return n, n.Entries >= 0
}

// LogTimeKey stands before the time of a log entry, in the quotes of JSON.
const LogTimeKey = `,"time":"`

// LogTime returns the time of a log entry, false for a line that has none. No other part of an entry looks like it: quotes
// inside are escaped, and attributes come before it.
func LogTime(line []byte) (time.Time, bool) {
	i := bytes.LastIndex(line, []byte(LogTimeKey))
	if i < 0 {
		return time.Time{}, false
	}
	text, _, _ := bytes.Cut(line[i+len(LogTimeKey):], []byte{'"'})
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t, err == nil
}
