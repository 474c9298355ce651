package files

import (
	"strings"
	"unicode/utf8"
)

// translate makes of a part of a shell's pattern what path.Match reads the same way. That knows brackets, but no [!...], no
// ] at their beginning, no - that stands for itself, no classes. Not ok: a [ lacks its ], or a class is none.
func translate(pattern string) (translated string, ok bool) {
	var out strings.Builder
	for i := 0; i < len(pattern); {
		n := 1
		switch pattern[i] {
		case '[':
			if n, ok = bracket(&out, pattern[i:]); !ok {
				return "", false
			}
		case '\\':
			n = min(2, len(pattern)-i)
			fallthrough
		default:
			out.WriteString(pattern[i : i+n])
		}
		i += n
	}
	return out.String(), true
}

// bracket translates what s begins with, from [ to ], and tells how long it is.
func bracket(out *strings.Builder, s string) (length int, ok bool) {
	i := 1
	out.WriteByte('[')
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		out.WriteByte('^')
		i++
	}
	for first := i; i < len(s); {
		if s[i] == ']' && i > first {
			out.WriteByte(']')
			return i + 1, true
		}
		if name, found := within(s[i:], ':'); found {
			ranges := class(name)
			if ranges == "" {
				return 0, false
			}
			for ; ranges != ""; ranges = ranges[2:] {
				out.WriteString(`\` + ranges[:1] + `-\` + ranges[1:2])
			}
			i += len(name) + len("[::]")
			continue
		}
		from, n := member(s[i:])
		if i += n; n == 0 {
			return 0, false
		}
		out.WriteString(`\` + from)
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			to, n := member(s[i+1:])
			if i += 1 + n; n == 0 {
				return 0, false
			}
			out.WriteString(`-\` + to)
		}
	}
	return 0, false
}

// class are the ranges, from and to, of what name stands for between [: and :] within brackets; "": there is no such class.
func class(name string) (ranges string) {
	switch name {
	case "alnum":
		return "09AZaz"
	case "alpha":
		return "AZaz"
	case "ascii":
		return "\x00\x7f"
	case "blank":
		return "  \t\t"
	case "cntrl":
		return "\x00\x1f\x7f\x7f"
	case "digit":
		return "09"
	case "graph":
		return "!~"
	case "lower":
		return "az"
	case "print":
		return " ~"
	case "punct":
		return "!/:@[`{~"
	case "space":
		return "\t\r  "
	case "upper":
		return "AZ"
	case "word":
		return "09AZaz__"
	case "xdigit":
		return "09AFaf"
	}
	return ""
}

// within is what stands between [ with a mark and the mark with ] at the beginning of s.
func within(s string, mark byte) (inner string, ok bool) {
	if len(s) < 2 || s[0] != '[' || s[1] != mark {
		return "", false
	}
	inner, _, ok = strings.Cut(s[2:], string([]byte{mark, ']'}))
	return inner, ok
}

// member reads the one character, itself, after a \ or as [.x.] or [=x=], that s begins with within brackets; 0: there is none.
func member(s string) (char string, length int) {
	for _, mark := range []byte(".=") {
		if inner, found := within(s, mark); found {
			if _, n := utf8.DecodeRuneInString(inner); n == 0 || n != len(inner) {
				return "", 0
			}
			return inner, len(inner) + len("[..]")
		}
	}
	escape := 0
	if s[0] == '\\' {
		escape = 1
	}
	_, n := utf8.DecodeRuneInString(s[escape:])
	if n == 0 {
		return "", 0
	}
	return s[escape : escape+n], escape + n
}
