package request

import "strings"

// words is a flag that may be given more than once. pflag's own, asked for its default when the flag is made, allocates
// a CSV writer of 4 KiB to print nothing; a command with forty such flags feels that.
type words []string

// Set implements pflag.Value.
func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

// Type implements pflag.Value, in the word that pflag's help prints for a list.
func (w *words) Type() string { return "stringArray" }

// String implements pflag.Value. An empty list is "", which pflag's help takes for a default not worth printing.
func (w *words) String() string { return strings.Join(*w, ",") }
