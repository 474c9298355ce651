package logging

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"pier/api/shim"
)

// Entry is one entry of a log.
type Entry struct {
	Log    []byte // with its newline, where it is the end of a line; valid until the next entry is read
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Attrs  map[string]string // nil where there are none; not to be changed
}

const (
	logKey    = `{"log":"`
	streamKey = `,"stream":"`
	attrsKey  = `,"attrs":`
)

// decoder turns lines into entries. Lines as the supervisor writes them take a short way, others that of encoding/json.
type decoder struct {
	text     []byte            // the memory of Entry.Log
	rawAttrs []byte            // of the last entry that had some
	attrs    map[string]string // the same, decoded
	rawTime  []byte            // of the last entry: many follow with the same
	time     time.Time
}

// decode reports false for what is no entry.
func (d *decoder) decode(line []byte, e *Entry) bool {
	if d.short(line, e) {
		return true
	}
	var j struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if json.Unmarshal(line, &j) != nil {
		return false
	}
	*e = Entry{Log: []byte(j.Log), Stream: j.Stream, Time: j.Time, Attrs: j.Attrs}
	return true
}

func (d *decoder) short(line []byte, e *Entry) bool {
	rest, ok := bytes.CutPrefix(line, []byte(logKey))
	if !ok {
		return false
	}
	if rest, ok = d.unescape(rest); !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(streamKey)); !ok {
		return false
	}
	stream, rest, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return false
	}
	switch string(stream) {
	case "stdout":
		e.Stream = "stdout"
	case "stderr":
		e.Stream = "stderr"
	default:
		return false
	}
	e.Attrs = nil
	if bytes.HasPrefix(rest, []byte(attrsKey)) {
		i := bytes.LastIndex(rest, []byte(shim.LogTimeKey))
		if i < len(attrsKey) || !d.readAttrs(rest[len(attrsKey):i]) {
			return false
		}
		e.Attrs, rest = d.attrs, rest[i:]
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(shim.LogTimeKey)); !ok {
		return false
	}
	stamp, rest, ok := bytes.Cut(rest, []byte{'"'})
	if !ok || string(rest) != "}" || !d.readTime(stamp) {
		return false
	}
	e.Log, e.Time = d.text, d.time
	return true
}

func (d *decoder) readAttrs(raw []byte) bool {
	if d.attrs != nil && bytes.Equal(raw, d.rawAttrs) {
		return true
	}
	var attrs map[string]string
	if json.Unmarshal(raw, &attrs) != nil || attrs == nil {
		return false
	}
	d.rawAttrs, d.attrs = append(d.rawAttrs[:0], raw...), attrs
	return true
}

func (d *decoder) readTime(raw []byte) bool {
	if len(raw) > 0 && bytes.Equal(raw, d.rawTime) {
		return true
	}
	t, err := time.Parse(time.RFC3339Nano, string(raw))
	if err != nil {
		return false
	}
	d.rawTime, d.time = append(d.rawTime[:0], raw...), t
	return true
}

// unescape decodes a JSON string up to its closing quote into d.text and returns what follows.
func (d *decoder) unescape(s []byte) (rest []byte, ok bool) {
	d.text = d.text[:0]
	for {
		i := bytes.IndexAny(s, `"\`)
		if i < 0 {
			return nil, false
		}
		d.text = append(d.text, s[:i]...)
		if s[i] == '"' {
			return s[i+1:], utf8.Valid(d.text)
		}
		if len(s) < i+2 {
			return nil, false
		}
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'n':
			d.text = append(d.text, '\n')
		case 't':
			d.text = append(d.text, '\t')
		case 'r':
			d.text = append(d.text, '\r')
		case '"', '\\', '/':
			d.text = append(d.text, c)
		case 'u':
			if len(s) < 4 {
				return nil, false
			}
			r, err := strconv.ParseUint(string(s[:4]), 16, 32)
			if err != nil || utf16.IsSurrogate(rune(r)) {
				return nil, false // left to encoding/json
			}
			d.text = utf8.AppendRune(d.text, rune(r))
			s = s[4:]
		default:
			return nil, false
		}
	}
}
