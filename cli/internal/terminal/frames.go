package terminal

import (
	"bufio"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
)

// CopyFrames writes the frames of src to two outputs, in their order. What has arrived together is written together; nothing
// is held back while it waits for more.
func CopyFrames(out, errOut io.Writer, src io.Reader) error {
	first, second := bufio.NewWriterSize(out, 32<<10), bufio.NewWriterSize(errOut, 4<<10)
	flush := func() error {
		if err := first.Flush(); err != nil {
			return err
		}
		return second.Flush()
	}
	_, err := stdcopy.StdCopy(inOrder{first, second}, inOrder{second, first}, flushing{src, flush})
	if flushErr := flush(); err == nil {
		err = flushErr
	}
	return err
}

// inOrder writes to one of two outputs after all that was written to the other has gone out.
type inOrder struct{ to, other *bufio.Writer }

func (w inOrder) Write(b []byte) (int, error) {
	if w.other.Buffered() > 0 {
		if err := w.other.Flush(); err != nil {
			return 0, err
		}
	}
	return w.to.Write(b)
}

// flushing has written what was read before it waits for more.
type flushing struct {
	io.Reader
	flush func() error
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(b)
}
