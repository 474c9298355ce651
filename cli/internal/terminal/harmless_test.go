package terminal

import "testing"

// TestHarmless: nothing that a terminal obeys is left, and the rest is as it was.
func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"two\nlines\tand ümlaut, 日本 \ufffd": "two\nlines\tand ümlaut, 日本 \ufffd",
		"\x1b]0;title\a\r":                  `\x1b]0;title\x07\x0d`,
		"\x9b31m \xff \u009b \x7f":          `\x9b31m \xff \u009b \x7f`,
		"gpj.\u202etxt":                     `gpj.\u202etxt`,
		"":                                  "",
	} {
		if got := Harmless(text); got != want {
			t.Errorf("Harmless(%q) = %q, want %q", text, got, want)
		}
	}
}
