package row

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"

	"pier/cli/internal/table"
	"pier/lib/id"
)

// Space is one line of `system df`.
type Space struct{ Type, TotalCount, Active, Size, Reclaimable string }

// SpaceOf has a line for each kind of thing that takes space.
func SpaceOf(usage *system.DiskUsage) []Space {
	var rows []Space
	add := func(kind string, total, active, size, reclaimable int64) {
		r := Space{Type: kind, TotalCount: strconv.FormatInt(total, 10), Active: strconv.FormatInt(active, 10),
			Size: units.HumanSize(float64(size)), Reclaimable: units.HumanSize(float64(reclaimable))}
		if size > 0 {
			r.Reclaimable += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
		}
		rows = append(rows, r)
	}
	if u := usage.ImageUsage; u != nil {
		add("Images", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
	}
	if u := usage.ContainerUsage; u != nil {
		add("Containers", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
	}
	if u := usage.VolumeUsage; u != nil {
		add("Local Volumes", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
	}
	if u := usage.BuildCacheUsage; u != nil {
		add("Build Cache", u.TotalCount, u.ActiveCount, u.TotalSize, u.Reclaimable)
	}
	return rows
}

// Cache is one line of the build cache in `system df -v`.
type Cache struct{ CacheType, CreatedSince, Description, ID, InUse, LastUsedSince, Shared, Size, UsageCount string }

// Objects are all things that take space, as a template of `system df -v` is given them.
type Objects struct {
	Images     []Image
	Containers []Container
	Volumes    []Volume
	BuildCache []Cache
	Cached     int64 `json:"-"` // bytes of the build cache
}

// SpaceHead holds the titles.
func SpaceHead() Space {
	return Space{Type: "TYPE", TotalCount: "TOTAL", Active: "ACTIVE", Size: "SIZE", Reclaimable: "RECLAIMABLE"}
}

// CacheHead holds the titles.
func CacheHead() Cache {
	return Cache{CacheType: "CACHE TYPE", CreatedSince: "CREATED", ID: "CACHE ID", LastUsedSince: "LAST USED", Shared: "SHARED", Size: "SIZE", UsageCount: "USAGE"}
}

// ObjectsOf words every single thing.
func ObjectsOf(usage *system.DiskUsage) Objects {
	var all Objects
	if u := usage.ImageUsage; u != nil {
		for i := range u.Items {
			all.Images = append(all.Images, ImagesOf(&u.Items[i], true, false)...)
		}
	}
	if u := usage.ContainerUsage; u != nil {
		for i := range u.Items {
			all.Containers = append(all.Containers, sized(ContainerOf(&u.Items[i], true)))
		}
	}
	if u := usage.VolumeUsage; u != nil {
		for i := range u.Items {
			all.Volumes = append(all.Volumes, VolumeOf(&u.Items[i]))
		}
	}
	if u := usage.BuildCacheUsage; u != nil {
		all.Cached = u.TotalSize
		for _, r := range u.Items {
			cell := Cache{CacheType: r.Type, CreatedSince: table.Ago(r.CreatedAt.Unix()), Description: r.Description, ID: id.Short(r.ID),
				InUse: strconv.FormatBool(r.InUse), Shared: strconv.FormatBool(r.Shared), Size: table.Size(r.Size), UsageCount: strconv.Itoa(r.UsageCount)}
			if r.LastUsedAt != nil {
				cell.LastUsedSince = table.Ago(r.LastUsedAt.Unix())
			}
			all.BuildCache = append(all.BuildCache, cell)
		}
	}
	return all
}

// sized leaves of a container's size what it takes itself; its image is counted among the images.
func sized(c Container) Container {
	c.Size, _, _ = strings.Cut(c.Size, " (")
	return c
}
