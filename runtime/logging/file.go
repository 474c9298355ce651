package logging

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"pier/api/shim"
	"pier/lib/errkind"
)

// MaxPortion bounds the encoded bytes of one append to the log, but for a single longer entry; many short lines grow a
// hundredfold.
const MaxPortion = 256 << 10

// File is the log of one task, which its streams share. Safe for concurrent use.
type File struct {
	spec   shim.Log
	encode encoder
	packer *Packer

	mu      sync.Mutex // guards what follows and keeps an intent's "being logged" to one stream at a time
	file    *os.File
	missing int64  // bytes of output that are not in the log, and not yet told
	cause   string // why
	packing bool   // a goroutine compresses
	closed  bool
	stop    chan struct{} // closed with the file
	packed  chan struct{} // closed when the goroutine has ended
}

// Open opens the log that spec describes, for appending; nil and nil where it has no path. Rotated files that a
// predecessor left uncompressed are compressed, by packer.
func Open(spec shim.Log, packer *Packer) (*File, error) {
	if spec.Path == "" {
		return nil, nil
	}
	f := &File{spec: spec, encode: newEncoder(spec.Attrs), packer: packer, stop: make(chan struct{})}
	if err := f.open(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pack()
	return f, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.spec.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return errkind.New(errkind.Of(err), "open log %s: %w", f.spec.Path, err)
	}
	f.file = file
	return nil
}

// Close ends compressing and closes the file. nil has nothing to close.
func (f *File) Close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	close(f.stop)
	f.file.Close()
	packed := f.packed
	f.mu.Unlock()
	if packed != nil {
		<-packed
	}
}

// Path is the live file's.
func (f *File) Path() string { return f.spec.Path }

// Append writes the beginning of text as entries of stream: whole lines, and pieces of lines longer than MaxLine; with
// all set, the rest without a newline too. It returns how many bytes of text that is, also where they could not be
// written: they are lost then, and the error says why. buf is memory to work with. Before anything is written begin is
// called with how many bytes are about to be, the size of the file and the time in the entries, and done when they are in the
// file or lost. No other Append runs between the two: it could rotate the file, of which a successor then knows only that it
// has not grown.
func (f *File) Append(buf *[]byte, text []byte, stream string, all bool, begin func(n int, size int64, at time.Time), done func()) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size, limit, err := f.room()
	if err != nil {
		size, limit = 0, MaxPortion
	}
	at := time.Now()
	*buf, n = f.encode.encode((*buf)[:0], text, stream, at, all, limit)
	if n == 0 {
		return 0, nil
	}
	if err == nil && f.missing > 0 {
		size, err = f.tellMissing(size, at)
	}
	begin(n, size, at)
	if err == nil {
		err = f.write(*buf, size)
	}
	if err != nil {
		f.miss(n, reason(err))
	}
	done()
	return n, err
}

// Complete appends what of text a predecessor did not write any more: all of text became entries of that time in a file
// that had size before.
func (f *File) Complete(buf *[]byte, text []byte, stream string, at time.Time, before int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	*buf, _ = f.encode.encode((*buf)[:0], text, stream, at, true, 1<<62)
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	written := min(max(info.Size()-before, 0), int64(len(*buf)))
	return f.write((*buf)[written:], info.Size())
}

// CutTo removes what a predecessor may have written of entries that are not wanted any more: all beyond size.
func (f *File) CutTo(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := f.file.Stat()
	if err != nil || info.Size() <= size {
		return err
	}
	return f.file.Truncate(size)
}

// Miss counts n bytes of output that will not be in the log.
func (f *File) Miss(n int, cause string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.miss(n, cause)
}

func (f *File) miss(n int, cause string) { f.missing, f.cause = f.missing+int64(n), cause }

// tellMissing appends an entry about what is missing and returns the file's new size.
func (f *File) tellMissing(size int64, at time.Time) (int64, error) {
	text := fmt.Sprintf("pier: %d bytes of output are missing here: %s\n", f.missing, f.cause)
	entry, _ := f.encode.encode(nil, []byte(text), "stderr", at, true, MaxPortion)
	if err := f.write(entry, size); err != nil {
		return size, err
	}
	f.missing = 0
	return size + int64(len(entry)), nil
}

// reason is the innermost of err's words, without the path, which is no affair of the container's.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// write appends to the file, all or nothing: after an error it is as long as before.
func (f *File) write(encoded []byte, size int64) error {
	if _, err := f.file.Write(encoded); err != nil {
		if cutErr := f.file.Truncate(size); cutErr != nil {
			err = fmt.Errorf("%w (and then %v)", err, cutErr)
		}
		return err
	}
	return nil
}
