package nft

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long the watcher waits after the first foreign change, so that a burst of them is answered once.
const settle = 50 * time.Millisecond

// The first attribute of every notice about a table or a part of one is the table's name (NFTA_*_TABLE). A notice of
// a new generation ends each transaction and tells who made it.
const (
	attrTable   = 1
	attrGenPID  = 2 // NFTA_GEN_PROC_PID
	msgNewGen   = unix.NFT_MSG_NEWGEN
	groupTables = unix.NFNLGRP_NFTABLES
)

// watcher tells when a program other than this process has changed a table.
type watcher struct {
	conn    *netlink.Conn
	touched chan struct{} // closed by close, never full for long
}

// newWatcher listens in the calling thread's network namespace.
func newWatcher(table string) (*watcher, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.JoinGroup(groupTables); err != nil {
		_ = conn.Close()
		return nil, err
	}
	w := &watcher{conn: conn, touched: make(chan struct{}, 1)}
	go w.follow(table)
	return w, nil
}

func (w *watcher) close() { _ = w.conn.Close() }

func (w *watcher) follow(table string) {
	defer close(w.touched)
	ours := false
	for {
		messages, err := w.conn.Receive()
		if err != nil {
			if !errors.Is(err, unix.ENOBUFS) {
				return
			}
			// The kernel dropped notices: what they said is unknown, so take the table for changed.
			w.tell()
			continue
		}
		for _, m := range messages {
			if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
				continue
			}
			kind := m.Header.Type & 0xff
			ad, err := netlink.NewAttributeDecoder(m.Data[4:])
			if err != nil {
				continue
			}
			ad.ByteOrder = binary.BigEndian
			by := uint32(os.Getpid())
			for ad.Next() {
				if kind == msgNewGen && ad.Type() == attrGenPID {
					by = ad.Uint32()
				} else if kind != msgNewGen && ad.Type() == attrTable && ad.String() == table {
					ours = true
				}
			}
			if kind == msgNewGen {
				if ours && !ownThread(by) {
					w.tell()
				}
				ours = false
			}
		}
	}
}

// ownThread reports whether tid is a thread of this process: the kernel names the thread that made a change.
func ownThread(tid uint32) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.FormatUint(uint64(tid), 10))
	return err == nil
}

func (w *watcher) tell() {
	time.Sleep(settle)
	select {
	case w.touched <- struct{}{}:
	default:
	}
}
