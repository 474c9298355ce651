package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pier/cli/internal/pruning"
	"pier/cli/internal/request"
	"pier/client"
)

// pruning makes `GROUP prune`, which asks before it removes.
func (a *app) pruning(path, short, victims string, do pruning.Pruner) *cobra.Command {
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
		if !force {
			if yes, err := a.confirm(ctx, "WARNING! This will remove "+victims+".\nAre you sure you want to continue?"); err != nil || !yes {
				return err
			}
		}
		p, err := do(ctx, c, conditions, all)
		if err != nil {
			return err
		}
		a.printPruned(p)
		if p.Counted {
			a.printf("Total reclaimed space: %s\n", units.HumanSize(float64(p.Reclaimed)))
		}
		return nil
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.Flags().VarP(request.ListOf("filter", &filters), "filter", "", `Provide filter values (e.g. "label=<key>=<value>")`)
	return cmd
}

func (a *app) printPruned(p pruning.Removed) {
	if len(p.Names) > 0 {
		a.printf("%s:\n%s\n\n", p.Title, strings.Join(p.Names, "\n"))
	}
}

// confirm asks on the standard output; only y and yes mean yes. An interrupt ends the question with an error.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	a.printf("%s [y/N] ", question)
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.In).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answered:
		return answer == "y" || answer == "yes", nil
	case <-ctx.Done():
		a.printf("\n")
		return false, ctx.Err()
	}
}

func newSystemPrune(a *app) *cobra.Command {
	var force, all, volumes bool
	var filters []string
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused data", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			steps, victims := pruning.System(all, volumes)
			if !force {
				yes, err := a.confirm(ctx, fmt.Sprintf("WARNING! This will remove:\n  - %s\n\nAre you sure you want to continue?", strings.Join(victims, "\n  - ")))
				if err != nil || !yes {
					return err
				}
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
				total += p.Reclaimed
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
