package logging

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"
	"unicode/utf8"

	"pier/api/shim"
)

// MaxLine is where a line without a newline is cut into several entries, in bytes of output.
const MaxLine = 1 << 20

const hexDigits = "0123456789abcdef"

// encoder makes entries. It holds what is the same in all of them.
type encoder struct {
	attrs []byte // `,"attrs":{...}` or empty
}

func newEncoder(attrs map[string]string) encoder {
	if len(attrs) == 0 {
		return encoder{}
	}
	b, err := json.Marshal(attrs)
	if err != nil { // a map of strings always marshals
		return encoder{}
	}
	return encoder{attrs: append([]byte(`,"attrs":`), b...)}
}

// encode appends entries for the beginning of text to dst, until it is limit long, and returns how many bytes of text
// they hold: whole lines, and pieces of lines longer than MaxLine. With all set, the rest without a newline becomes an
// entry too.
func (e encoder) encode(dst, text []byte, stream string, at time.Time, all bool, limit int) (out []byte, used int) {
	var room [128]byte
	end := e.appendEnd(room[:0], stream, at)
	for used < len(text) && len(dst) < limit {
		rest := text[used:]
		n := bytes.IndexByte(rest[:min(len(rest), MaxLine)], '\n') + 1
		switch {
		case n > 0:
		case len(rest) > MaxLine:
			n = cut(rest)
		case all:
			n = len(rest)
		default:
			return dst, used
		}
		dst = append(dst, `{"log":"`...)
		dst = appendEscaped(dst, rest[:n])
		dst = append(dst, end...)
		used += n
	}
	return dst, used
}

// appendEnd appends what follows the text in an entry.
func (e encoder) appendEnd(dst []byte, stream string, at time.Time) []byte {
	dst = append(dst, `","stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, '"')
	dst = append(dst, e.attrs...)
	dst = append(dst, shim.LogTimeKey...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// appendEscaped appends text as the inside of a JSON string. What is not UTF-8 becomes U+FFFD.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
		for i+8 <= len(text) && plain(binary.LittleEndian.Uint64(text[i:])) {
			i += 8
		}
		if i == len(text) {
			break
		}
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, text[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, text[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // line ends to JavaScript
			dst = append(dst, text[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&15])
			start = i + size
		}
		i += size
	}
	return append(dst, text[start:]...)
}

// plain reports whether none of eight bytes needs to be escaped or decoded: control characters, quote, backslash, < > &,
// and what is not ASCII. The trick is an old one: v-1 borrows into the high bit of a byte only if the byte is zero. It may
// be wrong about a byte above one that is zero, never about all eight.
func plain(v uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	low := v - each*' '              // below a blank
	angle := (v | each*2) ^ each*'>' // < and > differ in one bit
	quote := (v | each*4) ^ each*'&' // so do " and &
	slash := v ^ each*'\\'
	zero := low&^v | (angle-each)&^angle | (quote-each)&^quote | (slash-each)&^slash
	return (v|zero)&high == 0
}

// cut returns how many bytes of a text longer than MaxLine and without a newline in them go into one entry: MaxLine, or
// a little less so that no character is torn apart.
func cut(text []byte) int {
	for n := MaxLine; n > MaxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return MaxLine // not UTF-8
}
