package network

import (
	"context"
	"log/slog"
	"net/netip"
	"os"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/daemon/store/record"
	"pier/lib/clock"
	"pier/lib/feed"
)

// Options says how the networks of one daemon are kept. Only Records is required.
type Options struct {
	// Records keeps the networks themselves; the caller opens and closes it.
	Records *record.DB
	// Events gets network create, connect, disconnect and destroy; nil: nobody is told.
	Events *feed.Feed[events.Message]
	// Bridge names the bridge of the predefined network "bridge", "" for "pier0". At most 15 characters. It also names
	// the daemon's nftables table, so that several daemons live side by side. "none": there is no network "bridge", and
	// containers that are on no other have none.
	Bridge string
	// BIP is the address of that bridge with its prefix length ("172.30.0.1/16"); "": a free private range is chosen
	// once and kept.
	BIP string
	// DisableNAT leaves the kernel's rules alone: nothing is published, masqueraded or filtered.
	DisableNAT bool
	// MTU of bridges and container interfaces in bytes; 0: that of the host's way out, if that is below 1500, so that
	// containers need not find it out packet by packet.
	MTU int
	// ResolvConf is the host's resolver configuration, "" for /etc/resolv.conf.
	ResolvConf string
	// DNS, if any, takes the place of the host's name servers for all containers (dockerd --dns).
	DNS []netip.Addr
	// Clock is nil for the computer's own.
	Clock clock.Clock
	// Log is nil for none.
	Log *slog.Logger
}

// JoinOptions describes the network side of one container to start. The zero value of every optional field is Docker's
// default.
type JoinOptions struct {
	// ContainerID is the whole identifier; Name is the container's name without a slash.
	ContainerID, Name string
	// Hostname and Domainname go into /etc/hosts.
	Hostname, Domainname string
	// Mode is HostConfig.NetworkMode: "", "default", "bridge", "host", "none", "container:<ID>" or a network.
	Mode string
	// Endpoints holds what was asked for by network name or ID (NetworkingConfig). More than Mode's network may be
	// named; each becomes one interface. It is not modified.
	Endpoints map[string]*api.EndpointSettings
	// Only says that Endpoints are all there are: Mode's network is not added. Without any the container has none.
	Only bool
	// Ports are the bindings to publish; HostPort is "", "0", a number or a range "8000-8010". Exposed matters only
	// with PublishAll.
	Ports      api.PortMap
	Exposed    api.PortSet
	PublishAll bool
	// Sysctls of the network namespace ("net.*"), applied before the container's first process exists.
	Sysctls map[string]string
	// MacAddress of the first interface, if it must be a certain one.
	MacAddress api.HardwareAddr
	// Earlier are the addresses that the container had on a network, by the network's name, where its processes remember
	// them. It gets them again where they are free and nothing else was asked for.
	Earlier map[string]Addresses
	// ExtraHosts are "name:address" lines for /etc/hosts; the address may be "host-gateway".
	ExtraHosts []string
	// DNS, DNSSearch and DNSOptions take the place of the host's.
	DNS                   []netip.Addr
	DNSSearch, DNSOptions []string
}

// Addresses are those of one interface. IPv6 is not valid where it has none.
type Addresses struct {
	IPv4 netip.Addr       `json:",omitzero"`
	IPv6 netip.Addr       `json:",omitzero"`
	MAC  api.HardwareAddr `json:",omitempty"`
}

// Sandbox is the network of one container.
type Sandbox struct {
	// Netns is the namespace to start the container in; nil in mode "host". It is a duplicate that the caller closes.
	Netns *os.File
	// Settings by network name, filled in; Ports with the host ports that were chosen. Both belong to the caller, who
	// keeps them for Adopt.
	Settings map[string]*api.EndpointSettings
	Ports    api.PortMap
	// Hosts and ResolvConf are the contents of /etc/hosts and /etc/resolv.conf; nil in mode "container:<ID>", where
	// the other container's files are used.
	Hosts, ResolvConf []byte
}

// AdoptOptions describes a container that runs since before this daemon started.
type AdoptOptions struct {
	// JoinOptions as they were given to Join.
	JoinOptions
	// Pid of the container's first process, whose namespace is taken up, and when that began (see pidfd.StartTime), 0 for
	// whenever. NotFound where it has ended.
	Pid       int
	StartTime uint64
	// Settings and Assigned are Sandbox.Settings and Sandbox.Ports as Join returned them.
	Settings map[string]*api.EndpointSettings
	Assigned api.PortMap
}

// Networks are all networks of one daemon and the containers on them. It is safe for concurrent use.
type Networks struct {
	state
}

// Open reads the records, makes or takes up the default bridge and readies the kernel's tables. Rules of a former
// daemon stay in force until Settle.
func Open(ctx context.Context, o Options) (*Networks, error) { return open(ctx, o) }

// List returns all networks with their containers, the predefined ones included, ordered by name.
func (n *Networks) List() []api.Inspect { return n.list() }

// Get finds a network by name, ID or unique beginning of an ID. NotFound: "network x not found".
func (n *Networks) Get(ref string) (api.Inspect, error) { return n.get(ref) }

// Create makes a bridge network. Conflict where the name is taken; Invalid for a bad subnet, Forbidden for one that
// overlaps a range in use; Unsupported for drivers other than bridge.
func (n *Networks) Create(ctx context.Context, r api.CreateRequest) (api.CreateResponse, error) {
	return n.create(ctx, r)
}

// Remove deletes a network that no container is on. Forbidden for predefined networks and those in use.
func (n *Networks) Remove(ctx context.Context, ref string) error { return n.remove(ctx, ref) }

// Join makes the network namespace of a container, its interfaces, addresses and published ports. On an error nothing
// stays. A port in use is Exhausted in Docker's words ("port is already allocated", "address already in use").
func (n *Networks) Join(ctx context.Context, o JoinOptions) (*Sandbox, error) { return n.join(ctx, o) }

// Leave gives back what Join or Adopt took. It never waits for the kernel: the interfaces go when the last process and
// the last open reference of the namespace are gone. An unknown container is no error.
func (n *Networks) Leave(containerID string) { n.leave(containerID) }

// Connect puts a running container on one more network, with the settings asked for (nil for none). o is as for Join.
// Forbidden, in Docker's words, where it is there already or cannot be on two networks.
func (n *Networks) Connect(ctx context.Context, o JoinOptions, ref string, asked *api.EndpointSettings) (*Change, error) {
	return n.connect(ctx, o, ref, asked)
}

// Disconnect takes a running container off a network. Forbidden where it is not on it.
func (n *Networks) Disconnect(ctx context.Context, o JoinOptions, ref string) (*Change, error) {
	return n.disconnect(ctx, o, ref)
}

// Mend is for a container that was adopted, and of which a former daemon may have been changing its place on network ref
// when it died: the kernel gets what the record says. The Change is the endpoint that is there, or what there was of one
// that is in no record: then it has no Settings.
func (n *Networks) Mend(_ context.Context, o JoinOptions, ref string) (*Change, error) {
	return n.mend(o, ref)
}

// Publish makes the ports of a running container those of o, which is as for Join: bindings that are as Sandbox.Ports has
// them and lead to the same port stay untouched, others are opened, and what is not among them is closed, with the
// connections made through it. It returns all ports as Sandbox.Ports has them, and settle, which the caller must call once,
// before anything else is done with the container: with true the connections end and the closed ports are free for others,
// with false all is as it was, but for connections over IPv6 through a port that was to lead elsewhere; so it is on an error,
// such as a port that is taken (see Join). Where nothing leads from outside to the container nothing is opened: that is
// Conflict if more, which says that there are ports in o that were not asked for before.
func (n *Networks) Publish(_ context.Context, o JoinOptions, more bool) (ports api.PortMap, settle func(keep bool), err error) {
	return n.changePorts(o, more)
}

// Adopt takes up a container that runs since before this daemon started: addresses, ports, name service. Call it for
// all of them before the first Join, then call Settle.
func (n *Networks) Adopt(ctx context.Context, o AdoptOptions) error { return n.adopt(ctx, o) }

// Settle ends adoption: the rules of a former daemon are replaced, in one step, by those of the containers adopted.
// The first Join implies it.
func (n *Networks) Settle(ctx context.Context) error { return n.settle(ctx) }

// Close stops everything that runs in this process (name service, relays, watcher) and leaves bridges, rules and
// containers as they are.
func (n *Networks) Close() error { return n.close() }

// Destroy removes bridges and rules, as at the end of `make clean`. Networks is closed afterwards.
func (n *Networks) Destroy(ctx context.Context) error { return n.destroy(ctx) }
