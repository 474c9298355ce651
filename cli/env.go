package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"pier/client"
)

func newEnv(a *app) *cobra.Command {
	var shell string
	var unset bool
	cmd := &cobra.Command{
		Use: "env [OPTIONS]", Short: "Print what to export so that docker, compose and the SDKs use Pier", Args: noArgs,
		Example: "  eval \"$(pier env)\"\n  docker ps",
		RunE: func(*cobra.Command, []string) error {
			endpoint, err := client.Find(a.choice, a.env)
			if err != nil {
				return err
			}
			export, clear := "export %s=%s\n", "unset %s\n"
			switch shell {
			case "", "sh", "bash", "zsh":
			case "fish":
				export, clear = "set -gx %s %s;\n", "set -e %s;\n"
			default:
				return invalid("shell %q is not known: use sh, bash, zsh or fish", shell)
			}
			// Docker clients build with BuildKit unless told otherwise; pierd serves the classic protocol.
			pairs := [][2]string{{"DOCKER_HOST", endpoint.Host}, {"DOCKER_BUILDKIT", "0"}}
			if endpoint.TLS.Enabled && endpoint.TLS.Verify {
				pairs = append(pairs, [2]string{"DOCKER_TLS_VERIFY", "1"}, [2]string{"DOCKER_CERT_PATH", strings.TrimSuffix(endpoint.TLS.CA, "/ca.pem")})
			}
			for _, p := range pairs {
				if unset {
					a.printf(clear, p[0])
				} else {
					a.printf(export, p[0], quote(p[1]))
				}
			}
			a.printf("# Run this to set up your shell:\n# eval \"$(pier env)\"\n")
			return nil
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "Syntax of the lines: sh, bash, zsh or fish")
	cmd.Flags().BoolVarP(&unset, "unset", "u", false, "Print what to unset instead")
	return cmd
}

// quote makes one word of s for a POSIX shell and for fish.
func quote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
