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
			created, err := a.create(ctx, c, &f, args, nil)
			if err != nil {
				return &exitError{code: 1, err: err}
			}
			a.printf("%s\n", created.ID)
			return nil
		}),
	}
	f.Register(cmd.Flags())
	return cmd
}

// create makes the container that flags and args describe, pulling its image first where that is missing. adjust, if
// not nil, changes the request before it is sent.
func (a *app) create(ctx context.Context, c *client.Client, f *request.Container, args []string, adjust func(*container.CreateRequest)) (container.CreateResponse, error) {
	var none container.CreateResponse
	request, err := f.Request(args, a.env)
	if err != nil {
		return none, err
	}
	if adjust != nil {
		adjust(&request)
	}
	if f.CIDFile != "" {
		if _, err := os.Stat(f.CIDFile); err == nil {
			return none, invalid("container ID file found, make sure the other container isn't running or delete %s", f.CIDFile)
		}
	}
	switch f.Pull {
	case "always":
		if err := a.pull(ctx, c, args[0], f.Platform, f.Quiet, a.Err); err != nil {
			return none, err
		}
	case "missing", "never", "":
	default:
		return none, invalid("invalid pull option: %q: must be one of \"always\", \"missing\" or \"never\"", f.Pull)
	}
	created, err := c.Containers().Create(ctx, f.Name, f.Platform, request)
	if errkind.Is(err, errkind.NotFound) && f.Pull != "never" && strings.Contains(strings.ToLower(err.Error()), "no such image") {
		if !f.Quiet {
			a.warnf("Unable to find image '%s' locally", withTag(args[0]))
		}
		if err := a.pull(ctx, c, args[0], f.Platform, f.Quiet, a.Err); err != nil {
			return none, err
		}
		created, err = c.Containers().Create(ctx, f.Name, f.Platform, request)
	}
	if err != nil {
		return none, err
	}
	for _, w := range created.Warnings {
		a.warnf("WARNING: %s", w)
	}
	if f.CIDFile != "" {
		if err := os.WriteFile(f.CIDFile, []byte(created.ID), 0o644); err != nil {
			return created, fmt.Errorf("write the container ID file: %w", err)
		}
	}
	return created, nil
}

// withTag adds :latest to a name that has neither tag nor digest.
func withTag(name string) string {
	last := name[strings.LastIndex(name, "/")+1:]
	if strings.ContainsAny(last, ":@") {
		return name
	}
	return name + ":latest"
}

func isAnswer(err error) bool {
	var e *client.Error
	return errors.As(err, &e)
}
