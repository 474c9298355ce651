package nft

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Network is one bridge and what may pass between it and the world.
type Network struct {
	// Bridge is the name of the link, Subnets the ranges of its containers.
	Bridge  string
	Subnets []netip.Prefix
	// Internal networks reach nothing but their own containers and the host.
	Internal bool
	// Masquerade gives what leaves the host's own address.
	Masquerade bool
	// Separate keeps the containers of the network apart from each other where traffic is routed or filtered
	// through the bridge.
	Separate bool
}

// The protocols that can be published.
const (
	TCP  = uint8(unix.IPPROTO_TCP)
	UDP  = uint8(unix.IPPROTO_UDP)
	SCTP = uint8(unix.IPPROTO_SCTP)
)

// Port is one published port. Port values with the same Proto and From exclude each other.
type Port struct {
	Proto uint8
	// From is where the host is addressed; an unspecified address (0.0.0.0, ::) stands for all of the host's.
	From netip.AddrPort
	// To is the container's own address, of the same family, and port.
	To netip.AddrPort
}

type portKey struct {
	proto uint8
	from  netip.AddrPort
}

func (p Port) key() portKey { return portKey{p.Proto, p.From} }

// Table is one table in the network namespace of the thread that called Open. It is safe for concurrent use.
type Table struct {
	name    string
	log     *slog.Logger
	changes chan *change
	quit    chan struct{}
	done    sync.WaitGroup
	watch   *watcher
	once    sync.Once

	// The owner goroutine's alone.
	conn    *nftables.Conn
	nets    []Network
	ports   map[portKey]Port
	suspend bool // nothing is written before the first Replace
	redial  func() (*nftables.Conn, error)
}

// change is a wish to the owner. whole asks for everything to be written anew.
type change struct {
	networks    *[]Network
	ports       *[]Port
	add, remove []Port
	whole, drop bool
	done        chan error
}

// Open connects to the kernel; nothing is changed before the first Replace. dial must call f on a thread in the table's
// network namespace, and is used again after a broken connection. log may be nil.
func Open(name string, dial func(f func() error) error, log *slog.Logger) (*Table, error) {
	if name == "" || len(name) > 64 {
		return nil, errkind.New(errkind.Invalid, "nftables table %q: bad name", name)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Table{
		name: name, log: log, changes: make(chan *change, 64), quit: make(chan struct{}),
		ports: map[portKey]Port{}, suspend: true,
	}
	var err error
	if err = dial(func() error { t.watch, err = newWatcher(name); return err }); err != nil {
		return nil, fmt.Errorf("nftables table %s: watch: %w", name, err)
	}
	t.redial = func() (c *nftables.Conn, err error) {
		err = dial(func() error {
			c, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(t.watch.ignore))
			return err
		})
		return c, err
	}
	if t.conn, err = t.redial(); err != nil {
		t.watch.close()
		return nil, fmt.Errorf("nftables table %s: connect: %w", name, err)
	}
	t.done.Go(t.own)
	t.done.Go(t.heal)
	return t, nil
}

// Replace writes the whole table in one transaction: traffic that both the old and the new one allow never notices.
func (t *Table) Replace(networks []Network, ports []Port) error {
	return t.ask(&change{networks: &networks, ports: &ports, whole: true})
}

// SetNetworks replaces the networks and keeps the ports.
func (t *Table) SetNetworks(networks []Network) error {
	return t.ask(&change{networks: &networks, whole: true})
}

// Add publishes ports. On an error none of them is.
func (t *Table) Add(ports ...Port) error { return t.ask(&change{add: ports}) }

// Remove ends the publication of ports; unknown ones are ignored. It does not wait for the kernel.
func (t *Table) Remove(ports ...Port) {
	select {
	case t.changes <- &change{remove: ports, done: make(chan error, 1)}:
	case <-t.quit:
	}
}

// Swap takes ports away and publishes others, in one transaction, and returns when the kernel has done so. Unknown ones are
// not taken away. On an error all is as it was.
func (t *Table) Swap(remove, add []Port) error { return t.ask(&change{remove: remove, add: add}) }

// Delete removes the table from the kernel.
func (t *Table) Delete() error { return t.ask(&change{drop: true}) }

// Close ends the connection and leaves the table in force. Calls after it fail.
func (t *Table) Close() error {
	t.once.Do(func() {
		close(t.quit)
		t.watch.close()
		t.done.Wait()
	})
	return nil
}

func (t *Table) ask(c *change) error {
	c.done = make(chan error, 1)
	select {
	case t.changes <- c:
	case <-t.quit:
		return errkind.New(errkind.Unavailable, "nftables table %s: closed", t.name)
	}
	select {
	case err := <-c.done:
		return err
	case <-t.quit:
		return errkind.New(errkind.Unavailable, "nftables table %s: closed", t.name)
	}
}

// own serves changes until Close. Waiting ones share a transaction.
func (t *Table) own() {
	defer func() { _ = t.conn.CloseLasting() }()
	for {
		select {
		case c := <-t.changes:
			group := []*change{c}
			for len(t.changes) > 0 && len(group) < 64 {
				group = append(group, <-t.changes)
			}
			t.serve(group)
		case <-t.quit:
			// What was asked before Close is still done, so that a removal is not lost.
			for len(t.changes) > 0 {
				t.serve([]*change{<-t.changes})
			}
			return
		}
	}
}

// serve applies a group. Where the group's transaction fails each change is tried by itself, so that nobody pays for
// another's mistake.
func (t *Table) serve(group []*change) {
	nets, ports, suspend := t.nets, maps.Clone(t.ports), t.suspend
	err := t.apply(group)
	if err == nil {
		for _, c := range group {
			c.done <- nil
		}
		return
	}
	t.nets, t.ports, t.suspend = nets, ports, suspend
	if t.reconnect(); len(group) > 1 {
		for _, c := range group {
			t.serve([]*change{c})
		}
		return
	}
	// A change that fails alone may meet a table that somebody else has altered: write it whole with the change in it.
	if c := group[0]; !c.whole && !c.drop && !t.suspend {
		c.whole = true
		t.serve(group)
		return
	}
	group[0].done <- fmt.Errorf("nftables table %s: %w", t.name, err)
}

func (t *Table) reconnect() {
	c, err := t.redial()
	if err != nil {
		t.log.Error("nftables: cannot connect again", "table", t.name, "error", err)
		return
	}
	_ = t.conn.CloseLasting()
	t.conn = c
}

// apply brings the memory up to date and sends one transaction.
func (t *Table) apply(group []*change) error {
	whole := false
	var add, remove []Port
	for _, c := range group {
		if c.drop {
			return t.drop()
		}
		whole = whole || c.whole
		if c.networks != nil {
			t.nets = slices.Clone(*c.networks)
			t.suspend = false
		}
		if c.ports != nil {
			t.ports = map[portKey]Port{}
			for _, p := range *c.ports {
				t.ports[p.key()] = p
			}
		}
		for _, p := range c.remove {
			if old, ok := t.ports[p.key()]; !ok || old != p {
				continue
			}
			delete(t.ports, p.key())
			if i := slices.Index(add, p); i >= 0 {
				add = slices.Delete(add, i, i+1)
			} else {
				remove = append(remove, p)
			}
		}
		for _, p := range c.add {
			if err := p.check(); err != nil {
				return err
			}
			if old, ok := t.ports[p.key()]; ok && old == p {
				continue
			}
			t.ports[p.key()] = p
			add = append(add, p)
		}
	}
	if t.suspend {
		return nil
	}
	if whole {
		return t.write()
	}
	table := t.table()
	if err := eachMap(table, remove, t.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := eachMap(table, add, t.conn.SetAddElements); err != nil {
		return err
	}
	return t.conn.Flush()
}

func (t *Table) table() *nftables.Table {
	return &nftables.Table{Name: t.name, Family: nftables.TableFamilyINet}
}

func (t *Table) drop() error {
	t.suspend = true
	t.nets, t.ports = nil, map[portKey]Port{}
	table := t.table()
	t.conn.AddTable(table) // so that deleting a missing one is no error
	t.conn.DelTable(table)
	return t.conn.Flush()
}

// heal writes the table anew when another program has touched it.
func (t *Table) heal() {
	for range t.watch.touched {
		c := &change{whole: true, done: make(chan error, 1)}
		select {
		case t.changes <- c:
		case <-t.quit:
			return
		}
		select {
		case err := <-c.done:
			t.log.Warn("nftables: the table was changed by another program and written anew", "table", t.name, "error", err)
		case <-t.quit:
			return
		}
	}
}

func (p Port) check() error {
	switch {
	case p.Proto != TCP && p.Proto != UDP && p.Proto != SCTP:
		return errkind.New(errkind.Invalid, "publish a port: unknown protocol number %d", p.Proto)
	case !p.From.IsValid() || !p.To.IsValid() || p.From.Port() == 0 || p.To.Port() == 0:
		return errkind.New(errkind.Invalid, "publish a port: %s to %s: not a port", p.From, p.To)
	case p.From.Addr().Is4() != p.To.Addr().Is4():
		return errkind.New(errkind.Invalid, "publish a port: %s to %s: different families", p.From, p.To)
	}
	return nil
}
