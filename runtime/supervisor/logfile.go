package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"pier/api/shim"
	"pier/lib/errkind"
)

// maxPortion bounds the encoded bytes of one append to the log; many short lines grow a hundredfold.
const maxPortion = 256 << 10

// logFile writes one task's output. The two streams of a task share it.
type logFile struct {
	spec   shim.Log
	format lineFormat

	// repair, if not nil, is closed when what a predecessor was appending as it died is whole. Until then the end of the
	// file belongs to the stream whose output that is. It is set before the streams run.
	repair chan struct{}

	mu   sync.Mutex // guards what follows and keeps an intent's "being logged" to one stream at a time
	file *os.File
}

func openLog(spec shim.Log) (*logFile, error) {
	if spec.Path == "" {
		return nil, nil
	}
	l := &logFile{spec: spec, format: newLineFormat(spec.Attrs)}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.spec.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return errkind.New(errkind.Of(err), "open log %s: %w", l.spec.Path, err)
	}
	l.file = f
	return nil
}

func (l *logFile) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}

// encode appends entries for the beginning of text to dst and returns how many bytes of text they hold: whole lines,
// and pieces of lines longer than maxLine. With all set, the rest without a newline becomes an entry too.
func (l *logFile) encode(dst, text []byte, stream string, at time.Time, all bool, limit int) (out []byte, used int) {
	for used < len(text) && len(dst) < limit {
		rest := text[used:]
		n := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n') + 1
		switch {
		case n > 0:
		case len(rest) > maxLine:
			n = cut(rest)
		case all:
			n = len(rest)
		default:
			return dst, used
		}
		dst = l.format.appendEntry(dst, rest[:n], stream, at)
		used += n
	}
	return dst, used
}

// room returns the size of the live file and how many encoded bytes may be appended before it must be rotated. mu is
// held. A full file is rotated here, while no intent exists.
func (l *logFile) room() (size int64, limit int, err error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, 0, err
	}
	if l.spec.MaxSize <= 0 {
		return info.Size(), maxPortion, nil
	}
	if info.Size() >= l.spec.MaxSize {
		if err := l.rotate(); err != nil {
			return 0, 0, err
		}
		return 0, int(min(l.spec.MaxSize, maxPortion)), nil
	}
	return info.Size(), int(min(l.spec.MaxSize-info.Size(), maxPortion)), nil
}

// rotate moves Path to Path.1, that to Path.2 and so on, and begins a new file. With one file only it is emptied. A crash
// at any point loses nothing: the next try finds the gap in the row and closes it.
func (l *logFile) rotate() error {
	if l.spec.MaxFiles <= 1 {
		return l.file.Truncate(0)
	}
	name := func(i int) string {
		if i == 0 {
			return l.spec.Path
		}
		return fmt.Sprintf("%s.%d", l.spec.Path, i)
	}
	gap := 1
	for ; gap < l.spec.MaxFiles-1; gap++ {
		if _, err := os.Lstat(name(gap)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for i := gap; i > 0; i-- { // the last rename of a full row replaces the oldest file
		if err := os.Rename(name(i-1), name(i)); err != nil {
			return err
		}
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return err
	}
	return old.Close()
}

// append writes encoded to the end of the file, all or nothing: after an error the file is as long as before.
func (l *logFile) append(encoded []byte, size int64) error {
	if _, err := l.file.Write(encoded); err != nil {
		return errors.Join(err, l.file.Truncate(size))
	}
	return nil
}

// complete appends what of encoded a predecessor did not write any more, which began when the file had size before.
func (l *logFile) complete(encoded []byte, before int64) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	written := min(max(info.Size()-before, 0), int64(len(encoded)))
	return l.append(encoded[written:], info.Size())
}
