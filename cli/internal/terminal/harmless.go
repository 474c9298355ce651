package terminal

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Harmless is text with what a terminal would obey written out as in a string of Go: control characters but tabs and ends of
// lines, what turns the direction of writing, bytes that are no UTF-8. Who prints a name within a line quotes it besides, for an
// end of line in it would make another.
func Harmless(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1 || r < utf8.RuneSelf && obeyed(r):
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case obeyed(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteString(text[:n])
		}
		text = text[n:]
	}
	return out.String()
}

func obeyed(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
