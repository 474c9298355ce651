package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pier/api/docker"
	"pier/cli/internal/credentials"
	"pier/cli/internal/packing"
	"pier/cli/internal/progress"
	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/atomicfile"
)

func newBuild(a *app) *cobra.Command {
	var f request.Build
	cmd := &cobra.Command{
		Use: "build [OPTIONS] PATH | URL | -", Short: "Build an image from a Dockerfile", Args: exactArgs(1),
		Example: "  pier build -t web .\n  pier build -t web -f docker/Dockerfile --target test .",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.build(ctx, c, &f, args[0])
		}),
	}
	f.Register(cmd.Flags())
	return cmd
}

func (a *app) build(ctx context.Context, c *client.Client, f *request.Build, source string) error {
	query, err := f.Query(a.env)
	if err != nil {
		return err
	}
	mode, err := a.progressMode(f)
	if err != nil {
		return err
	}
	content, dockerfile, err := a.buildContext(source, f.File)
	if err != nil {
		return err
	}
	var body io.Reader // a nil ReadCloser in it would be no nil Reader
	if content != nil {
		defer content.Close()
		body = content
		if whole, ok := content.(packing.Whole); ok {
			body = whole.Buffer // the client sends it for one request
		}
	} else {
		query.Set("remote", source)
	}
	if dockerfile != "" {
		query.Set("dockerfile", dockerfile)
	}
	query.Set(docker.VertexParameter, "1")
	if f.Compress && body != nil {
		compressed := packing.Compressed(body)
		defer compressed.Close()
		body = compressed
	}
	auths, err := credentials.Open(a.env).All(ctx)
	if err != nil {
		return err
	}
	answer, err := c.Images().Build(ctx, body, query, auths)
	if err != nil {
		return err
	}
	defer answer.Close()
	id, err := a.showBuild(answer, f, mode)
	if err != nil {
		return err
	}
	if f.IIDFile != "" {
		if err := atomicfile.Write(f.IIDFile, []byte(id), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) progressMode(f *request.Build) (string, error) {
	_, isTerminal := terminal.Of(a.Out)
	switch f.Progress {
	case "tty":
		if !isTerminal {
			return "", invalid("--progress=tty needs a terminal as standard output")
		}
		return "tty", nil
	case "plain":
		return "plain", nil
	case "auto", "":
		if isTerminal && a.env("TERM") != "dumb" {
			return "tty", nil
		}
		return "plain", nil
	}
	return "", invalid("invalid progress mode %q: use auto, plain or tty", f.Progress)
}

// showBuild prints a build's progress and returns the image's ID.
func (a *app) showBuild(answer io.Reader, f *request.Build, mode string) (string, error) {
	var view progress.View
	switch {
	case f.Quiet:
		view = progress.NewQuiet()
	case mode == "tty":
		view = progress.NewTree(a.Out, a.colours())
	default:
		view = progress.NewPlain(a.Out)
	}
	built, err := progress.Build(answer, progress.Output{View: view, Out: a.Out, Err: a.Err, Quiet: f.Quiet})
	if err != nil {
		return "", failedProgress(err)
	}
	switch {
	case f.Quiet:
		a.printf("%s\n", built.ID)
	case built.Steps:
		a.printf("Built %s%s\n", built.ID, namesText(f.Tags))
	}
	return built.ID, nil
}

func namesText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = request.WithTag(t)
	}
	return " as " + strings.Join(names, ", ")
}

// buildContext opens what to send: a tar stream and the Dockerfile's name in it. A nil stream means that the daemon
// fetches source itself.
func (a *app) buildContext(source, file string) (io.ReadCloser, string, error) {
	switch {
	case source == "-" && file == "-":
		return nil, "", invalid("invalid argument: can't use stdin for both build context and Dockerfile")
	case source == "-":
		if _, isTerminal := terminal.Of(a.In); isTerminal {
			return nil, "", invalid("nothing to build from: pipe a Dockerfile or a tar archive into standard input, or name a folder")
		}
		return packing.Stream(a.In, file)
	case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"), strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "git://"):
		return nil, file, nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, "", fmt.Errorf("unable to prepare context: path %q not found", source)
	}
	if !info.IsDir() {
		return nil, "", fmt.Errorf("unable to prepare context: %q is not a folder", source)
	}
	return packing.Folder(source, file, a.In)
}
