package client

import (
	"encoding/json"
	"net/url"
	"strings"

	"pier/lib/errkind"
)

// Filters is a set of conditions as the API takes them: any value of one key, all keys.
type Filters map[string]map[string]bool

// ParseFilters reads "key=value" words.
func ParseFilters(words []string) (Filters, error) {
	f := Filters{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, errkind.New(errkind.Invalid, "bad format of filter %q: expected name=value", w)
		}
		f.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
	}
	return f, nil
}

// Add adds one condition.
func (f Filters) Add(key, value string) {
	if f[key] == nil {
		f[key] = map[string]bool{}
	}
	f[key][value] = true
}

func (f Filters) encode() string {
	if len(f) == 0 {
		return ""
	}
	data, _ := json.Marshal(f) // maps of strings and booleans always encode
	return string(data)
}

// flag is "1" for true and nothing for false.
func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// values makes a query of key, value pairs, leaving out empty values.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
