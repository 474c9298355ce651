// Package rows holds what is kept of a container, and what follows from that alone. It is pure.
//
// Start reading at Row.
package rows

import (
	"math"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"pier/api/docker"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/links"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/secrets"
	"pier/daemon/engine/internal/settings"
	netroom "pier/daemon/network"
)

// Row is a container's record as it rests in the table "containers". One that is shared is never changed, nor what its
// pointers lead to.
type Row struct {
	ID       string
	Name     string // without slash
	Created  time.Time
	Image    digest.Digest
	Chain    digest.Digest `json:",omitempty"` // the image's top layer
	Platform string        // operating system, as inspect has it
	Config   *container.Config
	Host     *container.HostConfig
	Mounts   []settings.Mount                     `json:",omitempty"`
	Secrets  []docker.Secret                      `json:",omitempty"`
	Asked    map[string]*network.EndpointSettings `json:",omitempty"` // NetworkingConfig
	Only     bool                                 `json:",omitempty"` // Asked lists all networks, that of NetworkMode is not implied
	Life     lifecycle.Container
	// Pid and StartTime name the process of a running container, or of one that runs no more.
	Pid       int    `json:",omitempty"`
	StartTime uint64 `json:",omitempty"`
	// Health is how it was when that last changed, for a daemon that takes the container up; nil without a health check.
	Health *container.Health `json:",omitempty"`
	// Settings and Ports are what the network room gave at the last start.
	Settings map[string]*network.EndpointSettings `json:",omitempty"`
	Ports    network.PortMap                      `json:",omitempty"`
	// RemoveVolumes is set with the state removing: its anonymous volumes go too.
	RemoveVolumes bool `json:",omitempty"`

	// Limiting is set while the limits of a running container are changed to something else than Host says.
	Limiting bool `json:",omitempty"`
	// Rewiring is the network whose interface comes to, or goes from, a running container while the rest of the record says
	// how it was before; or "".
	Rewiring string `json:",omitempty"`

	Gone bool `json:"-"` // the record is deleted
}

// Rules are what its life cycle follows.
func (r *Row) Rules() lifecycle.Rules {
	return lifecycle.Rules{
		Policy:     lifecycle.Policy{Name: string(r.Host.RestartPolicy.Name), Max: r.Host.RestartPolicy.MaximumRetryCount},
		AutoRemove: r.Host.AutoRemove,
	}
}

// NetworkNames lists the networks it is or will be on, by name.
func (r *Row) NetworkNames() map[string]*network.EndpointSettings {
	if len(r.Settings) > 0 {
		return r.Settings
	}
	if r.Host.NetworkMode.IsContainer() {
		return nil
	}
	out := map[string]*network.EndpointSettings{}
	for name, ep := range r.Asked {
		out[name] = ep
	}
	if len(out) == 0 && !r.Only {
		out[string(r.Host.NetworkMode)] = &network.EndpointSettings{}
	}
	return out
}

// JoinOptions say which networks it joins, and how.
func (r *Row) JoinOptions() netroom.JoinOptions {
	return netroom.JoinOptions{
		ContainerID: r.ID, Name: r.Name, Hostname: r.Config.Hostname, Domainname: r.Config.Domainname,
		Mode: string(r.Host.NetworkMode), Endpoints: r.Asked, Only: r.Only, Ports: r.Host.PortBindings, Exposed: r.Config.ExposedPorts,
		PublishAll: r.Host.PublishAllPorts, Sysctls: process.NetworkSysctls(r.Host), ExtraHosts: r.Host.ExtraHosts,
		DNS: r.Host.DNS, DNSSearch: r.Host.DNSSearch, DNSOptions: r.Host.DNSOptions,
	}
}

// Peer is the container as others have links to it.
func (r *Row) Peer() links.Peer {
	p := links.Peer{ID: r.ID, Name: r.Name, Config: r.Config, Host: r.Host, Running: r.Life.State.Alive()}
	if ep := r.Settings[network.NetworkBridge]; ep != nil {
		p.Address = ep.IPAddress
	}
	return p
}

// placeholders are what a start makes to mount its own things on. They are no work of the container's.
var placeholders = [...]string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/sys/fs", "/sys/fs/cgroup", "/etc/hostname",
	"/etc/hosts", "/etc/resolv.conf"}

// Placeholders are the paths in the container at which a start mounts things of its own.
func (r *Row) Placeholders() []string { return append(secrets.Places(r.Secrets), placeholders[:]...) }

// defaultPatience is how long a container may take to end after its stop signal.
const defaultPatience = 10 * time.Second

// Patience is how long it may take to end after its stop signal; negative: it is never killed.
func (r *Row) Patience() time.Duration {
	if t := r.Config.StopTimeout; t != nil {
		return Seconds(*t)
	}
	return defaultPatience
}

// Seconds is n seconds as far as a Duration goes; any negative n is one that stays negative.
func Seconds(n int) time.Duration {
	const most = int(math.MaxInt64 / time.Second)
	return time.Duration(max(-1, min(n, most))) * time.Second
}
