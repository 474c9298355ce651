package docker

import "strings"

// IsName reports whether s is made as the API has names of containers, networks, volumes and checkpoints made: of letters,
// digits and the characters _.- in ASCII, the first a letter or digit. How long it may be depends on what it names.
func IsName(s string) bool {
	other := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	return s != "" && !strings.ContainsFunc(s, other) && !strings.Contains("_.-", s[:1])
}
