package network

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	api "github.com/moby/moby/api/types/network"

	"pier/kernel/link"
)

const (
	relayDial     = 10 * time.Second
	relayIdle     = 90 * time.Second // of a UDP client, as long as conntrack keeps one
	relaySessions = 4096             // UDP clients of one port
	relayDatagram = 65535
)

// relay carries what comes to an IPv6 port of the host to a container, where the kernel cannot: to one that has only
// IPv4, or from ::1. The container sees the host's bridge address as the source. It is two goroutines for a
// connection, which the kernel splices, and one for the port.
type relay struct {
	s      *state
	to     netip.AddrPort
	listen io.Closer

	mu     sync.Mutex // guards the fields that follow
	open   map[io.Closer]bool
	closed bool
}

// relay listens on p.from. Conflict where the port is taken, Invalid where the host has no such address.
func (s *state) relay(p published) (*relay, error) {
	r := &relay{s: s, to: p.to, open: map[io.Closer]bool{}}
	if p.proto == api.TCP {
		l, err := s.links.ListenTCP(nil, "tcp6", p.from.String())
		if err != nil {
			return nil, err
		}
		r.listen = l
		go r.serveTCP(l)
	} else {
		l, err := s.links.ListenUDP(nil, "udp6", p.from.String())
		if err != nil {
			return nil, err
		}
		r.listen = l
		go r.serveUDP(l)
	}
	return r, nil
}

// Close ends the relay and the connections that it carries.
func (r *relay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.open {
		_ = c.Close()
	}
	return r.listen.Close()
}

// keep notes c to be closed with the relay. It reports false, and closes c, where that has happened already.
func (r *relay) keep(c io.Closer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = c.Close()
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) drop(c io.Closer) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
	_ = c.Close()
}

func (r *relay) serveTCP(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: wait for better times
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go r.carry(c)
	}
}

func (r *relay) carry(client *net.TCPConn) {
	if !r.keep(client) {
		return
	}
	defer r.drop(client)
	c, err := r.s.links.Dial("tcp", r.to, relayDial)
	if err != nil {
		_ = client.SetLinger(0) // a reset, as from a closed port
		return
	}
	server := c.(*net.TCPConn)
	if !r.keep(server) {
		return
	}
	defer r.drop(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}

func (r *relay) serveUDP(udp *net.UDPConn) {
	var mu sync.Mutex
	sessions := map[netip.AddrPort]net.Conn{}
	buf := make([]byte, relayDatagram)
	for {
		n, client, err := udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		mu.Lock()
		server, full := sessions[client], len(sessions) >= relaySessions
		mu.Unlock()
		if server == nil {
			if full {
				continue
			}
			if server, err = r.s.links.Dial("udp", r.to, relayDial); err != nil || !r.keep(server) {
				continue
			}
			mu.Lock()
			sessions[client] = server
			mu.Unlock()
			go func() {
				r.answer(udp, client, server)
				mu.Lock()
				delete(sessions, client)
				mu.Unlock()
				r.drop(server)
			}()
		}
		_ = server.SetReadDeadline(time.Now().Add(relayIdle))
		_, _ = server.Write(buf[:n])
	}
}

// answer carries a container's datagrams back to one client until that has been silent for long.
func (r *relay) answer(udp *net.UDPConn, client netip.AddrPort, server net.Conn) {
	buf := make([]byte, relayDatagram)
	for {
		n, err := server.Read(buf)
		if link.Refused(err) {
			continue // nobody listens yet
		}
		if err != nil {
			return
		}
		if _, err := udp.WriteToUDPAddrPort(buf[:n], client); err != nil {
			return
		}
	}
}
