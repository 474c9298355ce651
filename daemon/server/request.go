package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/api/docker"
	"pier/lib/errkind"
)

// maxJSON bounds a JSON body, in bytes: a container's definition with a large environment stays far below.
const maxJSON = 4 << 20

// request is what a handler gets: the request, decoded as far as all resources have it in common.
type request struct {
	*http.Request
	version docker.Version
	query   map[string][]string
	// name is the object in the path of the resources whose names may hold slashes; others use PathValue.
	name string
	// ignored are the fields of the body that decode found no place for.
	ignored []string
	// early says that the answer may begin before the body is read.
	early bool
}

// answerEarly lets the answer begin before the body has been read, or without.
func (r *request) answerEarly(w http.ResponseWriter) {
	r.early = http.NewResponseController(w).EnableFullDuplex() == nil
}

// finish ends an answer that may have begun early. What is left of a body net/http reads only after it has stopped looking
// for a client that leaves; the end of the body makes it look again, and then two read the next request at once. So what
// is left (net/http bounds how much) is read here, once the client has its answer.
func (r *request) finish(w http.ResponseWriter) {
	if r.early {
		_ = http.NewResponseController(w).Flush()
		_ = r.Body.Close()
	}
}

// arg returns the first value of a query argument, "" if there is none.
func (r *request) arg(name string) string {
	if v := r.query[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (r *request) has(name string) bool { _, ok := r.query[name]; return ok }

// flag reads a boolean argument as Docker does: everything but "", 0, no, false and none is true.
func (r *request) flag(name string) bool {
	switch strings.ToLower(strings.TrimSpace(r.arg(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag where the argument is given, else fallback.
func (r *request) flagOr(name string, fallback bool) bool {
	if !r.has(name) {
		return fallback
	}
	return r.flag(name)
}

// int reads a decimal argument; fallback where it is missing or empty.
func (r *request) int(name string, fallback int64) (int64, error) {
	s := r.arg(name)
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errkind.New(errkind.Invalid, "invalid value %q for %s: want a decimal number", s, name)
	}
	return n, nil
}

// seconds reads an optional number of seconds, as stop and restart take it: any negative one means for ever; nil where it is missing.
func (r *request) seconds(name string) (*int, error) {
	if r.arg(name) == "" {
		return nil, nil
	}
	n, err := r.int(name, 0)
	if err != nil {
		return nil, err
	}
	if n > 1<<31-1 {
		return nil, errkind.New(errkind.Invalid, "invalid value %d for %s: out of range", n, name)
	}
	s := int(max(n, -1))
	return &s, nil
}

// size reads the arguments h and w of a terminal's size in cells.
func (r *request) size() (height, width uint16, err error) {
	h, err := strconv.ParseUint(r.arg("h"), 10, 16)
	if err != nil {
		return 0, 0, errkind.New(errkind.Invalid, "invalid height %q: want a number from 0 to 65535", r.arg("h"))
	}
	w, err := strconv.ParseUint(r.arg("w"), 10, 16)
	if err != nil {
		return 0, 0, errkind.New(errkind.Invalid, "invalid width %q: want a number from 0 to 65535", r.arg("w"))
	}
	return uint16(h), uint16(w), nil
}

// filters reads the argument of that name. A filter whose name is not among known is refused, as Docker does.
func (r *request) filters(known ...string) (docker.Filters, error) {
	f, err := docker.ParseFilters(r.arg("filters"))
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%w", err)
	}
	if name := f.Unknown(known...); name != "" {
		return nil, errkind.New(errkind.Invalid, "invalid filter '%s'", name)
	}
	return f, nil
}

// systems are the operating systems that a platform may name, which are those of Go.
var systems = []string{"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd",
	"plan9", "solaris", "wasip1", "windows"}

// architectures are those of Go that Linux runs on.
var architectures = []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
	"riscv64", "s390x"}

// platform reads the argument as "os[/arch[/variant]]" or as the JSON that newer versions send; nil if it is missing.
func (r *request) platform() (*ocispec.Platform, error) {
	s := r.arg("platform")
	if s == "" {
		return nil, nil
	}
	var p ocispec.Platform
	if strings.HasPrefix(s, "{") {
		if err := json.Unmarshal([]byte(s), &p); err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid platform: %w", err)
		}
		return &p, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) > 3 || parts[0] == "" {
		return nil, errkind.New(errkind.Invalid, "%q is an invalid component of platform %q: want os[/arch[/variant]]", parts[0], s)
	}
	if len(parts) == 1 && slices.Contains(architectures, architecture(parts[0])) { // one word is either
		parts = []string{"linux", parts[0]}
	}
	if !slices.Contains(systems, parts[0]) {
		return nil, errkind.New(errkind.Invalid, "%q in platform %q: unknown operating system: want os[/arch[/variant]], such as linux/amd64", parts[0], s)
	}
	parts = append(parts, "", "")
	return &ocispec.Platform{OS: parts[0], Architecture: architecture(parts[1]), Variant: parts[2]}, nil
}

// architecture turns the kernel's word for an architecture into that of images.
func architecture(word string) string {
	switch word {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return word
}

// decode reads a JSON body into v. Exactly one value is accepted. An empty body is an error unless optional. Fields that
// v does not have are passed over, as Docker does, since every version of the API has its own; see ignored.
func (r *request) decode(w http.ResponseWriter, v any, optional bool) error {
	if r.Body == nil || r.ContentLength == 0 {
		if optional {
			return nil
		}
		return errkind.New(errkind.Invalid, "invalid JSON: got EOF while reading request body")
	}
	ct := r.Header.Get("Content-Type")
	if mt, _, err := mime.ParseMediaType(ct); ct != "" && (err != nil || mt != "application/json") {
		return errkind.New(errkind.Invalid, "unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if err != nil {
		return errkind.New(errkind.Invalid, "read the request's body: %w", err)
	}
	var dec *json.Decoder
	for strict, listed := true, false; ; {
		dec = json.NewDecoder(bytes.NewReader(data))
		if strict {
			dec.DisallowUnknownFields()
		}
		err = dec.Decode(v)
		switch {
		case err == nil:
		case strict && strings.HasPrefix(err.Error(), "json: unknown field "):
			r.ignored, strict = unknownFields(data, reflect.TypeOf(v)), false
			continue
		case !listed && isCommandWord(err):
			data, listed = listCommand(data), true
			continue
		}
		break
	}
	switch {
	case errors.Is(err, io.EOF) && optional:
		return nil
	case errors.Is(err, io.EOF):
		return errkind.New(errkind.Invalid, "invalid JSON: got EOF while reading request body")
	case err != nil:
		return badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errkind.New(errkind.Invalid, "unexpected content after JSON")
	}
	return nil
}

// isCommandWord tells that decoding failed at a command line that is a string. The API takes one word in a list's place.
func isCommandWord(err error) bool {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) || wrong.Value != "string" || wrong.Type.Kind() != reflect.Slice {
		return false
	}
	field := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
	return strings.EqualFold(field, "Cmd") || strings.EqualFold(field, "Entrypoint")
}

// listCommand makes a list of the command line and the entry point of a JSON object where they are strings. What is no
// object stays as it is.
func listCommand(data []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return data
	}
	for name, value := range fields {
		if (strings.EqualFold(name, "Cmd") || strings.EqualFold(name, "Entrypoint")) && bytes.HasPrefix(value, []byte{'"'}) {
			fields[name] = slices.Concat([]byte{'['}, value, []byte{']'})
		}
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return data
	}
	return out
}

// ignoredWarnings says by name what of the body was passed over. What stands in the query too is no mistake: some
// clients send their arguments in both places.
func (r *request) ignoredWarnings() []string {
	var out []string
	for _, name := range r.ignored {
		if !r.has(name) {
			out = append(out, fmt.Sprintf("unknown field %q was ignored", name))
		}
	}
	return out
}

// badJSON names the field of a wrong type as the API knows it: without the structs that pierd's types are made of.
func badJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return errkind.New(errkind.Invalid, "invalid JSON: %w", err)
	}
	field := strings.Split(wrong.Field, ".")
	field = slices.DeleteFunc(field, func(part string) bool { return part == "CreateRequest" || part == "Resources" || part == "" })
	switch {
	case len(field) > 1 && field[0] == "Config":
		field = field[1:]
	case len(field) > 1 && field[0] == "HostConfig" && field[1] == "HostConfig":
		field = field[1:]
	}
	want := map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Array: "a list",
		reflect.Map: "an object", reflect.Struct: "an object"}[wrong.Type.Kind()]
	if want == "" {
		want = "a number that fits " + wrong.Type.Kind().String()
	}
	if len(field) == 0 {
		return errkind.New(errkind.Invalid, "invalid JSON: the body is a JSON %s, want %s", wrong.Value, want)
	}
	return errkind.New(errkind.Invalid, "invalid JSON: field %s is a JSON %s, want %s", strings.Join(field, "."), wrong.Value, want)
}

// timestamp reads an instant as since and until take it: seconds since 1970 with an optional fraction, RFC 3339, the
// date alone, or a duration that is counted back from now. The zero time stands for a missing argument and for 0.
func (r *request) timestamp(name string, now time.Time) (time.Time, error) {
	s := r.arg(name)
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	if sec, frac, _ := strings.Cut(s, "."); strings.Trim(sec, "0123456789") == "" && strings.Trim(frac, "0123456789") == "" {
		n, err := strconv.ParseInt(sec, 10, 64)
		nano, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		if err == nil {
			return time.Unix(n, nano), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errkind.New(errkind.Invalid, "invalid value %q for %s: want seconds since 1970, a date or a duration", s, name)
}
