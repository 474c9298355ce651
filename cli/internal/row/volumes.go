package row

import (
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	"pier/lib/id"
)

// Volume is one line of `volume ls`. Availability, Group and Status are those of cluster volumes, which Pier has not.
type Volume struct{ Availability, Driver, Group, Labels, Links, Mountpoint, Name, Scope, Size, Status string }

// VolumeHead holds the titles.
func VolumeHead() Volume {
	return Volume{Availability: "AVAILABILITY", Driver: "DRIVER", Group: "GROUP", Labels: "LABELS", Links: "LINKS", Mountpoint: "MOUNTPOINT",
		Name: "VOLUME NAME", Scope: "SCOPE", Size: "SIZE", Status: "STATUS"}
}

// VolumeOf words a volume.
func VolumeOf(v *volume.Volume) Volume {
	r := Volume{Availability: "N/A", Driver: v.Driver, Group: "N/A", Labels: Labels(v.Labels), Links: "N/A", Mountpoint: v.Mountpoint, Name: v.Name,
		Scope: v.Scope, Size: "N/A", Status: "N/A"}
	if v.UsageData != nil {
		r.Links, r.Size = strconv.FormatInt(v.UsageData.RefCount, 10), units.HumanSize(float64(v.UsageData.Size))
	}
	return r
}

// Checkpoint is one line of `checkpoint ls`.
type Checkpoint struct{ Name string }

// CheckpointHead holds the titles.
func CheckpointHead() Checkpoint { return Checkpoint{Name: "CHECKPOINT NAME"} }

// Network is one line of `network ls`.
type Network struct{ CreatedAt, Driver, ID, IPv4, IPv6, Internal, Labels, Name, Scope string }

// NetworkHead holds the titles.
func NetworkHead() Network {
	return Network{ID: "NETWORK ID", Name: "NAME", Driver: "DRIVER", Scope: "SCOPE", Labels: "LABELS", CreatedAt: "CREATED AT", IPv4: "IPV4", IPv6: "IPV6", Internal: "INTERNAL"}
}

// NetworkOf words a network; short cuts the identifier.
func NetworkOf(n *network.Summary, short bool) Network {
	r := Network{ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: n.Scope, Labels: Labels(n.Labels), CreatedAt: n.Created.String(),
		IPv4: strconv.FormatBool(n.EnableIPv4), IPv6: strconv.FormatBool(n.EnableIPv6), Internal: strconv.FormatBool(n.Internal)}
	if short {
		r.ID = id.Short(n.ID)
	}
	return r
}
