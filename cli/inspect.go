package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/errkind"
)

func newInspect(a *app) *cobra.Command {
	var kind string
	cmd := a.inspecting("inspect [OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Pier objects", func() []string {
		if kind != "" {
			return []string{kind}
		}
		return []string{"container", "image", "network", "volume"}
	})
	cmd.Flags().StringVar(&kind, "type", "", `Only inspect objects of the given type ("container", "image", "network", "volume")`)
	return cmd
}

func newInspectOf(a *app, kind string) *cobra.Command {
	noun := strings.ToUpper(kind)
	cmd := a.inspecting("inspect [OPTIONS] "+noun+" ["+noun+"...]", "Display detailed information on one or more "+kind+"s", func() []string { return []string{kind} })
	switch kind {
	case "image":
		cmd.Flags().Var(request.Refused("string"), "platform", "Inspect a specific platform of the multi-platform image")
	case "network":
		cmd.Flags().BoolP("verbose", "v", false, "Verbose output for diagnostics (of swarm services)")
	}
	return cmd
}

func (a *app) inspecting(use, short string, kinds func() []string) *cobra.Command {
	var format string
	var size bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if _, err := table.Parse(format); err != nil {
				return &exitError{code: 64, err: err}
			}
			var found []table.Object
			failed := false
			for _, ref := range args {
				object, err := lookUp(ctx, c, kinds(), ref, size)
				if errors.Is(err, context.Canceled) {
					return err
				}
				if err != nil {
					a.report(err)
					failed = true
					continue
				}
				found = append(found, object)
			}
			if err := table.Objects(a.Out, format, found); err != nil {
				return err
			}
			if failed {
				return &exitError{code: 1}
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output: "json" or a Go template`)
	if all := kinds(); slices.Contains(all, "container") {
		cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	}
	return cmd
}

// lookUp asks for ref among each kind in turn.
func lookUp(ctx context.Context, c *client.Client, kinds []string, ref string, size bool) (table.Object, error) {
	var err error
	for _, kind := range kinds {
		var o table.Object
		switch kind {
		case "container":
			o.Type = &container.InspectResponse{}
			o.Raw, err = c.Containers().Raw(ctx, ref, size)
		case "image":
			o.Type = &image.InspectResponse{}
			o.Raw, err = c.Images().Raw(ctx, ref)
		case "network":
			o.Type = &network.Inspect{}
			o.Raw, err = c.Networks().Raw(ctx, ref)
		case "volume":
			o.Type = &volume.Volume{}
			o.Raw, err = c.Volumes().Raw(ctx, ref)
		default:
			return o, invalid("%q is not a valid value for --type: use container, image, network or volume", kind)
		}
		if err == nil {
			return o, nil
		}
		if kind := errkind.Of(err); kind != errkind.NotFound && kind != errkind.Invalid {
			return o, err
		}
	}
	if len(kinds) > 1 {
		err = errkind.New(errkind.NotFound, "Error: No such object: %s", ref)
	}
	return table.Object{}, err
}
