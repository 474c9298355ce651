// Package pruning removes what nothing uses, a kind of thing at a time.
//
// Start reading at Pruner.
package pruning

import (
	"context"

	"pier/client"
)

// Removed is what a prune took away: a title with names below it, and bytes where they are known.
type Removed struct {
	Title     string
	Names     []string
	Reclaimed uint64
	Counted   bool // Reclaimed is known
}

// Pruner removes things of one kind that nothing uses and that match the filters, to which it may add. With all it is
// less careful, see each.
type Pruner func(ctx context.Context, c *client.Client, filters client.Filters, all bool) (Removed, error)

// Containers removes those that do not run.
func Containers(ctx context.Context, c *client.Client, filters client.Filters, _ bool) (Removed, error) {
	r, err := c.Containers().Prune(ctx, filters)
	return Removed{"Deleted Containers", r.ContainersDeleted, r.SpaceReclaimed, true}, err
}

// Images removes those without a name, with all also those that no container uses.
func Images(ctx context.Context, c *client.Client, filters client.Filters, all bool) (Removed, error) {
	if all {
		filters.Add("dangling", "false")
	}
	r, err := c.Images().Prune(ctx, filters)
	p := Removed{Title: "Deleted Images", Reclaimed: r.SpaceReclaimed, Counted: true}
	for _, d := range r.ImagesDeleted {
		if d.Untagged != "" {
			p.Names = append(p.Names, "untagged: "+d.Untagged)
		} else {
			p.Names = append(p.Names, "deleted: "+d.Deleted)
		}
	}
	return p, err
}

// Networks removes those that users made and no container is on.
func Networks(ctx context.Context, c *client.Client, filters client.Filters, _ bool) (Removed, error) {
	r, err := c.Networks().Prune(ctx, filters)
	return Removed{Title: "Deleted Networks", Names: r.NetworksDeleted}, err
}

// Volumes removes anonymous ones that no container has, with all also those with names.
func Volumes(ctx context.Context, c *client.Client, filters client.Filters, all bool) (Removed, error) {
	if all {
		filters.Add("all", "true")
	}
	r, err := c.Volumes().Prune(ctx, filters)
	return Removed{"Deleted Volumes", r.VolumesDeleted, r.SpaceReclaimed, true}, err
}

// Cache removes what builds left, with all not only what is dangling; keep bytes of it may stay.
func Cache(keep int64) Pruner {
	return func(ctx context.Context, c *client.Client, filters client.Filters, all bool) (Removed, error) {
		r, err := c.Images().PruneBuilds(ctx, filters, all, keep)
		return Removed{Title: "Deleted build cache objects", Names: r.CachesDeleted, Reclaimed: r.SpaceReclaimed, Counted: true}, err
	}
}

// System is how to remove everything that nothing uses, in the order in which things hold each other, and in words what
// that will be. Volumes are as dear as what is in them: only anonymous ones go, and only where volumes says so.
func System(all, volumes bool) (steps []Pruner, victims []string) {
	steps = []Pruner{Containers, Networks, Images}
	victims = []string{"all stopped containers", "all networks not used by at least one container", "all dangling images"}
	cached := "unused build cache"
	if all {
		victims[2], cached = "all images without at least one container associated to them", "all build cache"
	}
	if volumes {
		victims = append(victims, "all anonymous volumes not used by at least one container")
		steps = append(steps, func(ctx context.Context, c *client.Client, f client.Filters, _ bool) (Removed, error) {
			return Volumes(ctx, c, f, false)
		})
	}
	steps = append(steps, func(ctx context.Context, c *client.Client, f client.Filters, all bool) (Removed, error) {
		delete(f, "label") // the cache has none
		return Cache(0)(ctx, c, f, all)
	})
	return steps, append(victims, cached)
}
