package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"pier/client"
)

func newCompletion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Generate the completion script for bash, zsh or fish", GroupID: groupMore, Args: exactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"}, DisableFlagsInUseLine: true,
		Example: "  pier completion bash > /etc/bash_completion.d/pier",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.Out)
			case "fish":
				return cmd.Root().GenFishCompletion(a.Out, true)
			}
			return invalid("shell %q is not known: use bash, zsh or fish", args[0])
		},
	}
	return cmd
}

// completer is how cobra asks for the words that could come next.
type completer = func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective)

// completeContainers offers names of containers: running ones, or all.
func (a *app) completeContainers(all bool) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := c.Containers().List(context.Background(), client.ListOptions{All: all})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, s := range list {
			for _, n := range s.Names {
				names = append(names, strings.TrimPrefix(n, "/"))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeImages offers names of images.
func (a *app) completeImages() completer {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := c.Images().List(context.Background(), false, nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, s := range list {
			names = append(names, s.RepoTags...)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
