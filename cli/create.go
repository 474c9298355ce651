package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
	"pier/lib/errkind"
)

func newCreate(a *app) *cobra.Command {
	var f request.Container
	cmd := &cobra.Command{
		Use: "create [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create a new container", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			created, err := a.create(ctx, c, &f, args, func(r container.CreateRequest) (container.CreateResponse, error) {
				return c.Containers().Create(ctx, f.Name, f.Platform, r, f.Secrets...)
			})
			if err != nil {
				return err
			}
			a.printf("%s\n", created.ID)
			return nil
		}),
	}
	f.Register(cmd.Flags())
	return cmd
}

// create makes the container that flags and args describe, pulling its image first where that is missing. send sends
// the request; f has what goes with it.
func (a *app) create(ctx context.Context, c *client.Client, f *request.Container, args []string, send func(container.CreateRequest) (container.CreateResponse, error)) (container.CreateResponse, error) {
	var none container.CreateResponse
	r, err := f.Request(args, a.env)
	if err != nil {
		return none, &exitError{code: 125, err: err}
	}
	if f.CIDFile != "" {
		if _, err := os.Stat(f.CIDFile); err == nil {
			return none, invalid("container ID file found, make sure the other container isn't running or delete %s", f.CIDFile)
		}
	}
	created, err := a.createPulling(ctx, c, pulling{f.Name, f.Platform, f.Pull, f.Quiet, send}, r)
	if err != nil {
		return none, err
	}
	if f.CIDFile != "" {
		if err := os.WriteFile(f.CIDFile, []byte(created.ID), 0o644); err != nil {
			return created, fmt.Errorf("write the container ID file: %w", err)
		}
	}
	return created, nil
}

// pulling says how a container is made whose image may have to be fetched first.
type pulling struct {
	name, platform string
	when           string // always, missing ("") or never
	quiet          bool
	send           func(container.CreateRequest) (container.CreateResponse, error) // nil: Containers.Create
}

// createPulling makes a container, fetching its image where that is missing, and shows the daemon's warnings.
func (a *app) createPulling(ctx context.Context, c *client.Client, p pulling, r container.CreateRequest) (container.CreateResponse, error) {
	var created container.CreateResponse
	switch p.when {
	case "always":
		if err := a.pull(ctx, c, r.Image, p.platform, p.quiet, a.Err); err != nil {
			return created, err
		}
	case "missing", "never", "":
	default:
		return created, &exitError{code: 125, err: invalid("invalid pull option: '%s': must be one of \"always\", \"missing\" or \"never\"", p.when)}
	}
	send := p.send
	if send == nil {
		send = func(r container.CreateRequest) (container.CreateResponse, error) {
			return c.Containers().Create(ctx, p.name, p.platform, r)
		}
	}
	created, err := send(r)
	if p.when != "never" && imageMissing(err) {
		if !p.quiet {
			a.warnf("Unable to find image '%s' locally", request.WithTag(r.Image))
		}
		if err := a.pull(ctx, c, r.Image, p.platform, p.quiet, a.Err); err != nil {
			return created, err
		}
		created, err = send(r)
	}
	if err != nil {
		return created, err
	}
	for _, w := range created.Warnings {
		a.warnf("WARNING: %s", w)
	}
	return created, nil
}

// imageMissing says whether the daemon refused to make a container because it has no image of that name, or not for the
// platform that was asked for: a pull may change that.
func imageMissing(err error) bool {
	return errkind.Is(err, errkind.NotFound) &&
		(strings.Contains(strings.ToLower(err.Error()), "no such image") || strings.Contains(err.Error(), "does not match the specified platform"))
}

func isAnswer(err error) bool {
	var e *client.Error
	return errors.As(err, &e)
}
