package nft

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long the watcher waits after the first foreign change, so that a burst of them is answered once.
const settle = 50 * time.Millisecond

// attrTable is the attribute of every notice about a table, or a part of one, that holds the table's name
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, ...). In notices of new generations it means something else.
const attrTable = 1

// watcher tells when somebody else than the table's owner has changed it.
type watcher struct {
	conn    *netlink.Conn
	touched chan struct{} // closed when the watcher ends
	// own is the netlink address of the owner's socket, which the notices of its changes bear. Process numbers in the
	// notices are of no use: they are those of threads, and of the outermost process namespace.
	own atomic.Uint32
}

// newWatcher listens in the calling thread's network namespace.
func newWatcher(table string) (*watcher, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		_ = conn.Close()
		return nil, err
	}
	w := &watcher{conn: conn, touched: make(chan struct{}, 1)}
	go w.follow(table)
	return w, nil
}

func (w *watcher) close() { _ = w.conn.Close() }

// ignore makes the changes sent over c the owner's own. It is a nftables.SockOption.
func (w *watcher) ignore(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		addr, err := unix.Getsockname(int(fd))
		if a, ok := addr.(*unix.SockaddrNetlink); ok {
			w.own.Store(a.Pid)
		}
		failed = err
	})
	return errors.Join(err, failed)
}

func (w *watcher) follow(table string) {
	defer close(w.touched)
	for {
		messages, err := w.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			// The kernel dropped notices: what they said is unknown, so take the table for changed.
			w.tell()
			continue
		}
		if err != nil {
			return
		}
		for _, m := range messages {
			if m.Header.PID != w.own.Load() && concerns(m, table) {
				w.tell()
				break // what else was done to it matters no more
			}
		}
	}
}

// concerns reports whether a notice is about a table or a part of it.
func concerns(m netlink.Message, table string) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Data) < 4 {
		return false
	}
	attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return false
	}
	for attrs.Next() {
		if attrs.Type() == attrTable && attrs.String() == table {
			return true
		}
	}
	return false
}

func (w *watcher) tell() {
	time.Sleep(settle)
	select {
	case w.touched <- struct{}{}:
	default:
	}
}
