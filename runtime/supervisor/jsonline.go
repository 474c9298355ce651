package supervisor

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// maxLine is where a line without a newline is cut into several entries, as Docker does.
const maxLine = 16 << 10

const hexDigits = "0123456789abcdef"

// lineFormat holds what is the same in all entries of a log.
type lineFormat struct {
	attrs []byte // `,"attrs":{...}` or empty
}

func newLineFormat(attrs map[string]string) lineFormat {
	if len(attrs) == 0 {
		return lineFormat{}
	}
	b, err := json.Marshal(attrs)
	if err != nil { // a map of strings always marshals
		return lineFormat{}
	}
	return lineFormat{attrs: append([]byte(`,"attrs":`), b...)}
}

// appendEntry appends one entry with the text line, which keeps its newline if it has one.
func (f lineFormat) appendEntry(dst, line []byte, stream string, at time.Time) []byte {
	dst = append(dst, `{"log":"`...)
	dst = appendEscaped(dst, line)
	dst = append(dst, `","stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, '"')
	dst = append(dst, f.attrs...)
	dst = append(dst, `,"time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// appendEscaped appends text as the inside of a JSON string. What is not UTF-8 becomes U+FFFD.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
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

// cut returns how many bytes of a text longer than maxLine and without a newline in them go into one entry: maxLine, or
// a little less so that no character is torn apart.
func cut(text []byte) int {
	for n := maxLine; n > maxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return maxLine // not UTF-8
}
