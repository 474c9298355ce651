package logging

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"pier/api/shim"
	"pier/lib/gzblock"
)

const (
	// packDelay is how long after its rotation a file is compressed at the soonest. A log that is rotated faster has most of
	// its files dropped before anybody spent time on them.
	packDelay = time.Second
	// packPause bounds the time between tries that fail, on a full disk say.
	packPause = time.Minute
	blockSize = 1 << 20
)

// Packer compresses the files of many logs, one at a time. Safe for concurrent use.
type Packer struct {
	turn  chan struct{}
	delay time.Duration
	log   *slog.Logger
}

// NewPacker returns a packer that tells log what went wrong.
func NewPacker(log *slog.Logger) *Packer {
	return &Packer{turn: make(chan struct{}, 1), delay: packDelay, log: log}
}

// pack makes a goroutine compress rotated files, if there are any and none does yet. mu is held.
func (f *File) pack() {
	if !f.spec.Compress || f.packing || f.closed || f.youngestPlain() == 0 {
		return
	}
	f.packing, f.packed = true, make(chan struct{})
	go func() {
		defer close(f.packed)
		delay := f.packer.delay
		timer := time.NewTimer(delay)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-f.stop:
				return
			}
			switch err := f.packer.one(f); {
			case err == nil:
				delay = f.packer.delay
			case !errors.Is(err, errStopped):
				f.packer.log.Warn("rotated log is not compressed", "log", f.spec.Path, "err", err)
				delay = min(2*delay, packPause)
			}
			f.mu.Lock()
			if f.packing = f.youngestPlain() > 0 && !f.closed; !f.packing {
				f.mu.Unlock()
				return
			}
			f.mu.Unlock()
			timer.Reset(delay)
		}
	}()
}

// youngestPlain returns the number of the youngest rotated file that is not compressed, 0 for none.
func (f *File) youngestPlain() int {
	for i := 1; i < f.spec.MaxFiles; i++ {
		if exists(f.name(i)) {
			return i
		}
	}
	return 0
}

var errStopped = errors.New("the log is closed")

// one compresses the youngest of f's rotated files.
func (p *Packer) one(f *File) error {
	select {
	case p.turn <- struct{}{}:
	case <-f.stop:
		return errStopped
	}
	defer func() { <-p.turn }()
	f.mu.Lock()
	in, err := os.Open(f.name(max(f.youngestPlain(), 1)))
	f.mu.Unlock()
	if err != nil {
		return err
	}
	defer in.Close()
	name := f.spec.Path + ".pack"
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer out.Close()
	if err = compress(out, in, f.stop); err == nil {
		err = out.Sync() // or a power cut could leave neither form
	}
	if err == nil {
		err = f.replace(in, name)
	}
	if err != nil {
		_ = remove(name)
	}
	return err
}

// replace puts the compressed file in the place that the plain one has by now. It may have none any more.
func (f *File) replace(plain *os.File, packed string) error {
	info, err := plain.Stat()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 1; i < f.spec.MaxFiles; i++ {
		if at, err := os.Lstat(f.name(i)); err != nil || !os.SameFile(at, info) {
			continue
		}
		// In this order somebody who looks for one form and then the other finds one.
		if err := os.Rename(packed, f.name(i)+shim.PackedSuffix); err != nil {
			return err
		}
		return os.Remove(f.name(i))
	}
	return remove(packed)
}

// compress writes in to out in blocks that end with an entry.
func compress(out io.Writer, in io.Reader, stop <-chan struct{}) error {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	buf, fill := make([]byte, blockSize), 0
	for end := false; !end; {
		select {
		case <-stop:
			return errStopped
		default:
		}
		n, err := io.ReadFull(in, buf[fill:])
		fill += n
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			end = true
		case err != nil:
			return err
		}
		whole := bytes.LastIndexByte(buf[:fill], '\n') + 1
		if end {
			whole = fill
		}
		if whole == 0 && !end { // an entry longer than the buffer
			buf = append(buf, make([]byte, len(buf))...)
			continue
		}
		if whole > 0 {
			packed.Reset()
			if err := gzblock.AppendBlock(&packed, w, buf[:whole], noteOf(buf[:whole]).Append(nil)); err != nil {
				return fmt.Errorf("compress: %w", err)
			}
			if _, err := out.Write(packed.Bytes()); err != nil {
				return err
			}
		}
		fill = copy(buf, buf[whole:fill])
	}
	return nil
}

// noteOf describes a block that consists of whole entries.
func noteOf(block []byte) shim.LogNote {
	note := shim.LogNote{Entries: bytes.Count(block, []byte{'\n'})}
	first, _, _ := bytes.Cut(block, []byte{'\n'})
	note.First, _ = shim.LogTime(first)
	last := bytes.TrimSuffix(block, []byte{'\n'})
	note.Last, _ = shim.LogTime(last[bytes.LastIndexByte(last, '\n')+1:])
	return note
}
