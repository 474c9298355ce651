package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"github.com/spf13/cobra"

	"pier/client"
)

func newPull(a *app) *cobra.Command {
	var quiet bool
	var platform string
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Short: "Download an image from a registry", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if err := a.pull(ctx, c, args[0], platform, quiet, a.Out); err != nil {
				return err
			}
			if quiet {
				a.printf("%s\n", withTag(args[0]))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress verbose output")
	cmd.Flags().StringVar(&platform, "platform", "", "Set platform if server is multi-platform capable")
	return cmd
}

// pull fetches an image and shows the progress on w.
func (a *app) pull(ctx context.Context, c *client.Client, name, platform string, quiet bool, w io.Writer) error {
	repo, tag := splitTag(name)
	if r, digest, ok := strings.Cut(name, "@"); ok {
		repo, tag = r, digest
	}
	if tag == "" {
		tag = "latest"
	}
	body, err := c.Images().Pull(ctx, repo, tag, platform, credentials(a.env, registryOf(repo)))
	if err != nil {
		return err
	}
	defer body.Close()
	if quiet {
		w = io.Discard
	}
	return showProgress(body, w, nil)
}

// registryOf is the host part of a repository name, as config.json keys it.
func registryOf(repo string) string {
	first, _, ok := strings.Cut(repo, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "https://index.docker.io/v1/"
	}
	return first
}

// credentials reads what ~/.docker/config.json holds for one registry, and for that one only.
func credentials(env func(string) string, host string) *registry.AuthConfig {
	dir := env("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(env("HOME"), ".docker")
	}
	var config struct {
		Auths map[string]struct {
			Auth, IdentityToken string
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return nil
	}
	entry, ok := config.Auths[host]
	if !ok {
		return nil
	}
	auth := &registry.AuthConfig{ServerAddress: host, IdentityToken: entry.IdentityToken}
	if plain, err := base64.StdEncoding.DecodeString(entry.Auth); err == nil {
		auth.Username, auth.Password, _ = strings.Cut(string(plain), ":")
	}
	return auth
}
