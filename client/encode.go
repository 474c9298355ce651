package client

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// encode is json.Marshal for the bodies of requests, without the fields that are zero: the server's decoder leaves them
// zero. json.Marshal builds an encoder for every type that it could meet before it writes the first byte, which for the
// definition of a container takes ten times as long as writing the few fields that are set.
func encode(v any) ([]byte, error) {
	e := encoder{}
	e.value(reflect.ValueOf(v))
	return e.out.Bytes(), e.err
}

// encoder writes values until the first error.
type encoder struct {
	out bytes.Buffer
	err error
}

// value writes what json.Marshal writes, but for fields of structs that are zero.
func (e *encoder) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		e.out.WriteString("null")
		return
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && !special(v.Type()) {
			e.value(v.Elem())
			return
		}
	case reflect.Struct:
		if !special(v.Type()) {
			e.out.WriteByte('{')
			e.fields(v, true)
			e.out.WriteByte('}')
			return
		}
	case reflect.Slice:
		if !v.IsNil() && !special(v.Type()) && v.Type().Elem().Kind() != reflect.Uint8 {
			e.list(v)
			return
		}
	case reflect.Array:
		if !special(v.Type()) {
			e.list(v)
			return
		}
	case reflect.Map:
		if !v.IsNil() && !special(v.Type()) && v.Type().Key().Kind() == reflect.String && !special(v.Type().Key()) {
			e.entries(v)
			return
		}
	case reflect.Bool:
		if !special(v.Type()) {
			e.out.WriteString(strconv.FormatBool(v.Bool()))
			return
		}
	case reflect.String:
		if s := v.String(); plain(s) && !special(v.Type()) {
			e.out.WriteByte('"')
			e.out.WriteString(s)
			e.out.WriteByte('"')
			return
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if !special(v.Type()) {
			e.out.Write(strconv.AppendInt(e.out.AvailableBuffer(), v.Int(), 10))
			return
		}
	}
	if v.CanAddr() {
		v = v.Addr() // its methods may be the pointer's
	}
	data, err := json.Marshal(v.Interface())
	if err != nil && e.err == nil {
		e.err = err
	}
	e.out.Write(data)
}

func (e *encoder) list(v reflect.Value) {
	e.out.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			e.out.WriteByte(',')
		}
		e.value(v.Index(i))
	}
	e.out.WriteByte(']')
}

func (e *encoder) entries(v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	e.out.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			e.out.WriteByte(',')
		}
		e.value(reflect.ValueOf(key.String()))
		e.out.WriteByte(':')
		e.value(v.MapIndex(key))
	}
	e.out.WriteByte('}')
}

// fields writes the fields of a struct that are not zero; those of an embedded struct are its own. It reports whether
// none has been written yet.
func (e *encoder) fields(v reflect.Value, first bool) bool {
	for i := range v.NumField() {
		value, field := v.Field(i), v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" && options == "" || value.IsZero() {
			continue
		}
		if field.Anonymous && name == "" && !special(field.Type) {
			if value.Kind() == reflect.Pointer {
				value = value.Elem()
			}
			first = e.fields(value, first)
			continue
		}
		if name == "" {
			name = field.Name
		}
		if !first {
			e.out.WriteByte(',')
		}
		first = false
		e.out.WriteString(strconv.Quote(name)) // a field's name needs no escapes
		e.out.WriteByte(':')
		e.value(value)
	}
	return first
}

// plain reports whether a string stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

// special reports whether a type writes itself.
func special(t reflect.Type) bool {
	for _, own := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(own) || t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(own) {
			return true
		}
	}
	return false
}
