package command

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// longFlags returns args with two dashes before each long flag that has one, as in "-bundle x": runc takes both, and has no
// shorthands that are run together. Its flags end at the first argument behind the command.
func longFlags(root *cobra.Command, args []string) []string {
	out := append([]string{}, args...)
	command := root
	for i := 0; i < len(out); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(out[i], "-"), "=")
		switch dashes := len(out[i]) - len(strings.TrimLeft(out[i], "-")); {
		case dashes == 0 && command != root, name == "", dashes > 2:
			return out
		case dashes == 0:
			if command, _, _ = root.Find(out[i : i+1]); command == root {
				return out
			}
			continue
		}
		f := flagOf(command, name)
		if f == nil {
			continue
		}
		if len(name) > 1 {
			out[i] = "--" + strings.TrimLeft(out[i], "-")
		}
		if !hasValue && f.NoOptDefVal == "" {
			i++ // its value
		}
	}
	return out
}

// flagOf is nil where the command has no such flag.
func flagOf(c *cobra.Command, name string) *pflag.Flag {
	if len(name) == 1 {
		return c.Flags().ShorthandLookup(name)
	}
	if f := c.Flags().Lookup(name); f != nil {
		return f
	}
	return c.Root().PersistentFlags().Lookup(name)
}
