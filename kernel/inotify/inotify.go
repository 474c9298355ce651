// Package inotify tells when a file or directory changes, for those who follow a log.
//
// Start reading at Watch.
package inotify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Event says what has happened since the last Wait; several may be set.
type Event uint32

// What can happen to a watched path.
const (
	Modified Event = unix.IN_MODIFY                                                          // written or truncated
	Entries  Event = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE // a directory's entries came or went
	Gone     Event = unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_IGNORED               // renamed or removed: open the path anew
	Lost     Event = unix.IN_Q_OVERFLOW                                                      // too many events; look at everything
)

// Watcher watches one path. One goroutine at a time may Wait; Close may come from another and ends its wait.
type Watcher struct {
	f   *os.File
	buf [4096]byte
}

// Watch begins to watch path, a path of the host that the caller trusts; symbolic links are followed. Read the file
// after Watch and before the first Wait, so that no change is missed. When the machine's limit of watchers
// (fs.inotify.max_user_instances) is reached, that is errkind.Exhausted: fall back to looking now and then.
func Watch(path string) (*Watcher, error) {
	n, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err == nil {
		_, err = unix.InotifyAddWatch(n, path, uint32(Modified|Entries|Gone)&^unix.IN_IGNORED)
		if err != nil {
			unix.Close(n)
		}
	}
	switch {
	case err == unix.EMFILE || err == unix.ENOSPC:
		return nil, errkind.New(errkind.Exhausted, "watch %s: no inotify watches are left; raise fs.inotify.max_user_instances: %w", path, err)
	case err != nil:
		return nil, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return &Watcher{f: os.NewFile(uintptr(n), "inotify:"+path)}, nil
}

// Wait returns what has happened since the last Wait or since Watch, at once if anything has; else it waits for it. It
// ends early with ctx's error, or os.ErrClosed after Close. It takes up no thread.
func (w *Watcher) Wait(ctx context.Context) (Event, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := w.f.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_ = w.f.SetReadDeadline(time.Unix(1, 0))
	})
	n, err := w.f.Read(w.buf[:])
	if !stop() {
		<-stopped // or its deadline would fall into the next Wait
	}
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, ctx.Err()
		}
		return 0, err
	}
	var event Event
	for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b) {
			return event, fmt.Errorf("%s: the kernel wrote half an event", w.f.Name())
		}
		event |= Event(binary.NativeEndian.Uint32(b[4:]))
		b = b[size:]
	}
	return event & (Modified | Entries | Gone | Lost), nil
}

// Close ends the watch and a Wait in progress.
func (w *Watcher) Close() error { return w.f.Close() }
