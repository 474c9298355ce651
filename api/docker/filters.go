package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Filters is the "filters" query argument: for every name the values asked for, sorted and without repetition. The
// values of one name are alternatives; names narrow each other down.
type Filters map[string][]string

// ParseFilters reads the argument in both of its forms, {"label":["a","b"]} and the older {"label":{"a":true}}. The
// empty string gives no filters.
func ParseFilters(arg string) (Filters, error) {
	if arg == "" {
		return Filters{}, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(arg), &raw); err != nil {
		return nil, fmt.Errorf("invalid filter: %w", err)
	}
	out := make(Filters, len(raw))
	for name, value := range raw {
		values, err := filterValues(value)
		if err != nil {
			return nil, fmt.Errorf("invalid filter '%s': want a list of strings or an object of booleans", name)
		}
		slices.Sort(values)
		out[name] = slices.Compact(values)
	}
	return out, nil
}

func filterValues(value json.RawMessage) ([]string, error) {
	var list []string
	if err := json.Unmarshal(value, &list); err == nil {
		return list, nil
	}
	var set map[string]bool
	if err := json.Unmarshal(value, &set); err != nil {
		return nil, err
	}
	for v, on := range set {
		if !on {
			delete(set, v)
		}
	}
	return slices.Collect(maps.Keys(set)), nil
}

// Unknown returns the first name, in order, that is not among known; "" if there is none.
func (f Filters) Unknown(known ...string) string {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(known, name) {
			return name
		}
	}
	return ""
}

// Has reports whether the filter name asks for value.
func (f Filters) Has(name, value string) bool { return slices.Contains(f[name], value) }

// Bool returns the one boolean value of the filter name: fallback where it is not given, an error where it is not a
// boolean or asks for both.
func (f Filters) Bool(name string, fallback bool) (bool, error) {
	values, given := f[name]
	if !given {
		return fallback, nil
	}
	if len(values) == 1 {
		switch values[0] {
		case "1", "true":
			return true, nil
		case "0", "false":
			return false, nil
		}
	}
	return false, fmt.Errorf("invalid filter '%s=%s'", name, values)
}
