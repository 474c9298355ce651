package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/client"
)

// pruned is what a prune took away: a title with names below it, and bytes where they are known.
type pruned struct {
	title     string
	names     []string
	reclaimed uint64
	counted   bool // reclaimed is known
}

// pruner removes what nothing uses. all is the flag -a, where the command has one.
type pruner func(ctx context.Context, c *client.Client, filters client.Filters, all bool) (pruned, error)

// pruning makes `GROUP prune`, which asks before it removes.
func (a *app) pruning(path, short, victims string, do pruner) *cobra.Command {
	var force bool
	var filters []string
	_, word, _ := strings.Cut(path, " ")
	cmd := &cobra.Command{Use: word + " [OPTIONS]", Short: short, Args: noArgs}
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		conditions, err := client.ParseFilters(filters)
		if err != nil {
			return err
		}
		all := false
		if f := cmd.Flags().Lookup("all"); f != nil {
			all = f.Value.String() == "true"
		}
		if all {
			victims = strings.NewReplacer("anonymous local volumes not used by", "local volumes not used by", "dangling images", "images without at least one container associated to them").Replace(victims)
		}
		if !force && !a.confirm("WARNING! This will remove "+victims+".\nAre you sure you want to continue?") {
			return nil
		}
		p, err := do(ctx, c, conditions, all)
		if err != nil {
			return err
		}
		a.printPruned(p)
		if p.counted {
			a.printf("Total reclaimed space: %s\n", units.HumanSize(float64(p.reclaimed)))
		}
		return nil
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.Flags().VarP(request.ListOf("filter", &filters), "filter", "", `Provide filter values (e.g. "label=<key>=<value>")`)
	return cmd
}

func (a *app) printPruned(p pruned) {
	if len(p.names) > 0 {
		a.printf("%s:\n%s\n\n", p.title, strings.Join(p.names, "\n"))
	}
}

// confirm asks on the standard output; only y and yes mean yes.
func (a *app) confirm(question string) bool {
	a.printf("%s [y/N] ", question)
	line, _ := bufio.NewReader(a.In).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

func pruneContainers(ctx context.Context, c *client.Client, filters client.Filters, _ bool) (pruned, error) {
	r, err := c.Containers().Prune(ctx, filters)
	return pruned{"Deleted Containers", r.ContainersDeleted, r.SpaceReclaimed, true}, err
}

func pruneImages(ctx context.Context, c *client.Client, filters client.Filters, all bool) (pruned, error) {
	if all {
		filters.Add("dangling", "false")
	}
	r, err := c.Images().Prune(ctx, filters)
	p := pruned{title: "Deleted Images", reclaimed: r.SpaceReclaimed, counted: true}
	for _, d := range r.ImagesDeleted {
		if d.Untagged != "" {
			p.names = append(p.names, "untagged: "+d.Untagged)
		} else {
			p.names = append(p.names, "deleted: "+d.Deleted)
		}
	}
	return p, err
}

func pruneNetworks(ctx context.Context, c *client.Client, filters client.Filters, _ bool) (pruned, error) {
	r, err := c.Networks().Prune(ctx, filters)
	return pruned{title: "Deleted Networks", names: r.NetworksDeleted}, err
}

func pruneVolumes(ctx context.Context, c *client.Client, filters client.Filters, all bool) (pruned, error) {
	if all {
		filters.Add("all", "true")
	}
	r, err := c.Volumes().Prune(ctx, filters)
	return pruned{"Deleted Volumes", r.VolumesDeleted, r.SpaceReclaimed, true}, err
}

// newSystemPrune removes containers, networks, images and, where asked for, volumes, in the order in which they hold
// each other.
func newSystemPrune(a *app) *cobra.Command {
	var force, all, volumes bool
	var filters []string
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused data", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			victims := []string{"all stopped containers", "all networks not used by at least one container", "all dangling images"}
			steps := []pruner{pruneContainers, pruneNetworks, pruneImages}
			if all {
				victims[2] = "all images without at least one container associated to them"
			}
			cached := "unused build cache"
			if all {
				cached = "all build cache"
			}
			if volumes {
				victims = append(victims, "all anonymous volumes not used by at least one container")
				steps = append(steps, func(ctx context.Context, c *client.Client, f client.Filters, _ bool) (pruned, error) {
					return pruneVolumes(ctx, c, f, false)
				})
			}
			victims = append(victims, cached)
			steps = append(steps, func(ctx context.Context, c *client.Client, f client.Filters, all bool) (pruned, error) {
				delete(f, "label") // the cache has none
				return pruneCache(ctx, c, f, all, 0)
			})
			if !force && !a.confirm(fmt.Sprintf("WARNING! This will remove:\n  - %s\n\nAre you sure you want to continue?", strings.Join(victims, "\n  - "))) {
				return nil
			}
			var total uint64
			for _, step := range steps {
				conditions, err := client.ParseFilters(filters)
				if err != nil {
					return err
				}
				p, err := step(ctx, c, conditions, all)
				if err != nil {
					return err
				}
				a.printPruned(p)
				total += p.reclaimed
			}
			a.printf("Total reclaimed space: %s\n", units.HumanSize(float64(total)))
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Remove all unused images not just dangling ones")
	cmd.Flags().BoolVar(&volumes, "volumes", false, "Prune anonymous volumes")
	cmd.Flags().VarP(request.ListOf("filter", &filters), "filter", "", `Provide filter values (e.g. "label=<key>=<value>")`)
	return cmd
}
