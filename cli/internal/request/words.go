package request

import (
	"strings"

	"github.com/spf13/pflag"
)

// words is a flag that may be given more than once. pflag's own, asked for its default when the flag is made, allocates
// a CSV writer of 4 KiB to print nothing; a command with forty such flags feels that.
type words []string

// Set implements pflag.Value.
func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

// Type implements pflag.Value, in the word that docker's help prints for a list.
func (w *words) Type() string { return "list" }

// String implements pflag.Value. An empty list is "", which pflag's help takes for a default not worth printing.
func (w *words) String() string { return strings.Join(*w, ",") }

// List is a flag that may be given more than once; its values are added to p.
func List(p *[]string) pflag.Value { return (*words)(p) }

// ListOf is List with another word in the help: filter, map, mount, network or ulimit.
func ListOf(kind string, p *[]string) pflag.Value { return &kindOfWords{(*words)(p), kind} }

type kindOfWords struct {
	*words
	kind string
}

// Set implements pflag.Value.
func (k *kindOfWords) Set(s string) error {
	if key, _, ok := strings.Cut(s, "="); k.kind == "filter" && (!ok || key == "") {
		return invalid("bad format of filter (expected name=value)")
	}
	return k.words.Set(s)
}

func (k *kindOfWords) Type() string { return k.kind }

// Strings is a list whose values may also stand in one word with commas between them.
func Strings(p *[]string) pflag.Value { return &commaWords{(*words)(p)} }

type commaWords struct{ *words }

func (c *commaWords) Set(s string) error {
	*c.words = append(*c.words, strings.Split(s, ",")...)
	return nil
}

func (c *commaWords) Type() string { return "strings" }

// Refused is a flag of docker that Pier does not have: to set it is an error that says so.
func Refused(kind string) pflag.Value { return refused(kind) }

type refused string

func (refused) Set(string) error { return invalid("not supported by this version of Pier") }
func (r refused) Type() string   { return string(r) }
func (refused) String() string   { return "" }

// text is a flag with one value that is read later, by another word than string in the help.
type text struct {
	p    *string
	kind string
}

func (t *text) Set(s string) error {
	*t.p = s
	return nil
}

func (t *text) Type() string   { return t.kind }
func (t *text) String() string { return *t.p }
