package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"pier/cli/internal/pruning"
	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/errkind"
)

func newVolumeGroup(a *app) *cobra.Command {
	ls := newVolumeLs(a)
	ls.Aliases = []string{"list"}
	rm := newVolumeRm(a)
	rm.Aliases = []string{"remove"}
	prune := a.pruning("volume prune", "Remove unused local volumes", "anonymous local volumes not used by at least one container", pruning.Volumes)
	prune.Flags().BoolP("all", "a", false, "Remove all unused volumes, not just anonymous ones")
	return group("volume", "Manage volumes", newVolumeCreate(a), newInspectOf(a, "volume"), ls, prune, rm)
}

func newVolumeLs(a *app) *cobra.Command {
	var quiet bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Short: "List volumes", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			answer, err := c.Volumes().List(ctx, conditions)
			if err != nil {
				return err
			}
			list := answer.Volumes
			slices.SortFunc(list, func(x, y volume.Volume) int { return strings.Compare(x.Name, y.Name) })
			if quiet && format == "" {
				format = "{{.Name}}"
			}
			rows := make([]row.Volume, len(list))
			for i, v := range list {
				rows[i] = row.VolumeOf(&v)
			}
			return table.Render(a.Out, format, "{{.Driver}}\t{{.Name}}", row.VolumeHead(), rows)
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	cmd.Flags().VarP(request.ListOf("filter", &filters), "filter", "f", `Provide filter values (e.g. "dangling=true")`)
	return cmd
}

func newVolumeCreate(a *app) *cobra.Command {
	var r volume.CreateRequest
	var labels, options []string
	cmd := &cobra.Command{
		Use: "create [OPTIONS] [VOLUME]", Short: "Create a volume", Args: rangeArgs(0, 1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 1 {
				if r.Name != "" {
					return invalid("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				r.Name = args[0]
			}
			r.Labels, r.DriverOpts = request.Map(labels), request.Map(options)
			v, err := c.Volumes().Create(ctx, r)
			if err != nil {
				return err
			}
			a.printf("%s\n", v.Name)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&r.Driver, "driver", "d", "local", "Specify volume driver name")
	f.StringVar(&r.Name, "name", "", "Specify volume name")
	f.Lookup("name").Hidden = true
	f.VarP(request.List(&labels), "label", "", "Set metadata for a volume")
	f.VarP(request.ListOf("map", &options), "opt", "o", "Set driver specific options")
	return cmd
}

func newVolumeRm(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME [VOLUME...]", Short: "Remove one or more volumes", Args: minArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.each(args, func(name string) error {
				err := c.Volumes().Remove(ctx, name, force)
				if force && errkind.Is(err, errkind.NotFound) {
					return nil
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of one or more volumes")
	return cmd
}
