// Package help is what --help prints besides what the commands say of themselves.
//
// Start reading at Install.
package help

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Install makes the commands below root explain themselves as docker's do, in lines of at most width characters (0: of
// any length).
func Install(root *cobra.Command, width int) {
	usage := Template
	if width > 0 {
		usage = strings.Replace(usage, ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", width), 1)
	}
	root.SetUsageTemplate(usage)
	usual := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.Example == "" {
			cmd.Example = Example(strings.Fields(cmd.CommandPath()))
		}
		if names := Names(strings.Fields(cmd.CommandPath()), cmd.Aliases); len(names) > 1 {
			if cmd.Annotations == nil {
				cmd.Annotations = map[string]string{}
			}
			cmd.Annotations["aliases"] = strings.Join(names, ", ")
		}
		usual(cmd, args)
	})
}

// Names are all the ways to write a command, the one in its group first; nil for one that has no other.
func Names(path, aliases []string) []string {
	if len(path) < 2 || len(path) > 3 {
		return nil
	}
	program, word, group := path[0], path[len(path)-1], ""
	if len(path) == 3 {
		group = path[1]
	}
	top := word // the name at the top level
	switch {
	case group == "" && word == "ps", group == "container" && word == "ls":
		group, word, top, aliases = "container", "ls", "ps", []string{"list", "ps"}
	case group == "" && word == "images", group == "image" && word == "ls":
		group, word, top, aliases = "image", "ls", "images", []string{"list"}
	case group == "" && word == "rmi", group == "image" && word == "rm":
		group, word, top, aliases = "image", "rm", "rmi", []string{"remove"}
	case word == "rm" && (group == "" || group == "container"):
		group, aliases = "container", []string{"remove"}
	case word == "inspect" || word == "prune":
		return nil // the same word in every group
	case group == "" || group == "container" || group == "image" || group == "system":
		home := homeOf(word)
		if home == "" || group != "" && group != home {
			if len(aliases) == 0 {
				return nil
			}
			top = ""
		} else {
			group = home
		}
	default:
		top = ""
	}
	names := []string{program + " " + group + " " + word}
	for _, a := range aliases {
		names = append(names, program+" "+group+" "+a)
	}
	if top != "" {
		names = append(names, program+" "+top)
	}
	return names
}

// homeOf is the group that a command of the top level belongs to.
func homeOf(word string) string {
	for _, g := range []struct{ group, words string }{
		{"container", "attach commit cp create debug diff exec export kill logs pause port rename restart run start stats stop top unpause update wait"},
		{"image", "build history import load pull push save tag"},
		{"system", "events info"},
	} {
		if slices.Contains(strings.Fields(g.words), word) {
			return g.group
		}
	}
	return ""
}

// Template is cobra's usage text with docker's titles.
const Template = `Usage:  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- with index .Annotations "aliases"}}

Aliases:
  {{.}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{range $cmds}}{{if (and (eq .GroupID "") .IsAvailableCommand)}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Options:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableSubCommands}}

Run '{{.CommandPath}} COMMAND --help' for more information on a command.{{end}}
`
