package cli

import (
	"github.com/spf13/cobra"
)

func newCompletion(a *app) *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use: "completion [OPTIONS] SHELL", Short: "Generate the completion script for bash, zsh or fish", GroupID: groupMore, Args: exactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"}, DisableFlagsInUseLine: true,
		Example: "  pier completion bash > /etc/bash_completion.d/pier     needs the package bash-completion\n" +
			"  pier completion zsh > \"${fpath[1]}/_pier\"\n  pier completion fish > ~/.config/fish/completions/pier.fish",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Out, !plain)
			case "zsh":
				if plain {
					return cmd.Root().GenZshCompletionNoDesc(a.Out)
				}
				return cmd.Root().GenZshCompletion(a.Out)
			case "fish":
				return cmd.Root().GenFishCompletion(a.Out, !plain)
			}
			return invalid("shell %q is not known: use bash, zsh or fish", args[0])
		},
	}
	cmd.Flags().BoolVar(&plain, "no-descriptions", false, "Offer words alone")
	return cmd
}
