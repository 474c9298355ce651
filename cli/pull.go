package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"pier/cli/internal/credentials"
	"pier/cli/internal/request"
	"pier/client"
	"pier/lib/errkind"
)

func newPull(a *app) *cobra.Command {
	var quiet, all bool
	var platform string
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Short: "Download an image from a registry", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if all {
				return errkind.New(errkind.Unsupported, "--all-tags is not supported by this version of Pier: name the tags one by one")
			}
			if err := a.pull(ctx, c, args[0], platform, quiet, a.Out); err != nil {
				return err
			}
			if quiet {
				a.printf("%s\n", request.WithTag(args[0]))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress verbose output")
	cmd.Flags().BoolVarP(&all, "all-tags", "a", false, "Download all tagged images in the repository")
	cmd.Flags().Bool("disable-content-trust", true, "Skip image verification (there is none)")
	cmd.Flags().Lookup("disable-content-trust").Hidden = true
	cmd.Flags().StringVar(&platform, "platform", "", "Set platform if server is multi-platform capable")
	return cmd
}

// pull fetches an image and shows the progress on w.
func (a *app) pull(ctx context.Context, c *client.Client, name, platform string, quiet bool, w io.Writer) error {
	repo, tag := request.SplitTag(name)
	if r, digest, ok := strings.Cut(name, "@"); ok {
		repo, tag = r, digest
	}
	if tag == "" {
		tag = "latest"
	}
	auth, err := credentials.Open(a.env).For(ctx, credentials.HostOf(repo))
	if err != nil {
		return err
	}
	body, err := c.Images().Pull(ctx, repo, tag, platform, auth)
	if err != nil {
		return err
	}
	defer body.Close()
	if quiet {
		w = io.Discard
	}
	return showProgress(body, w)
}
