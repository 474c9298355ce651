package server

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// unknownFields names the fields of a JSON object that a value of type t has no place for, with dots between levels and
// in order. Fields without content (null, false, 0, "", [], {}) do not count: clients of other versions send them.
func unknownFields(data []byte, t reflect.Type) []string {
	var value any
	if json.Unmarshal(data, &value) != nil {
		return nil
	}
	var found []string
	unknownIn(value, t, "", &found)
	slices.Sort(found)
	return slices.Compact(found)
}

func unknownIn(value any, t reflect.Type, at string, found *[]string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return
	}
	switch v := value.(type) {
	case []any:
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
			for _, e := range v {
				unknownIn(e, t.Elem(), at, found)
			}
		}
	case map[string]any:
		switch t.Kind() {
		case reflect.Map:
			for _, e := range v {
				unknownIn(e, t.Elem(), at, found)
			}
		case reflect.Struct:
			fields := jsonFields(t)
			for name, e := range v {
				if f, known := fields[strings.ToLower(name)]; known {
					unknownIn(e, f, at+name+".", found)
				} else if !isEmpty(e) {
					*found = append(*found, at+name)
				}
			}
		}
	}
}

// jsonFields maps the names that encoding/json takes for a struct's fields, in lower case, to their types.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || f.Anonymous && name == "" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[strings.ToLower(name)] = f.Type
	}
	return out
}

func isEmpty(value any) bool {
	switch v := value.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return value == nil || value == false || value == 0.0 || value == ""
}
