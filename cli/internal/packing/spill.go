package packing

import (
	"bufio"
	"bytes"
	"io"
)

// wholeLimit is the size up to which a context is packed before any of it is sent, in bytes.
const wholeLimit = 512 << 10

// Whole is a context that has been packed completely, so that it can be sent more than once.
type Whole struct{ *bytes.Buffer }

// Close implements io.Closer.
func (Whole) Close() error { return nil }

// spill keeps what is written to it until that is more than wholeLimit; from then on everything goes to the reader that
// long gets. A pipe is a meeting of two goroutines for every piece, which for a small context costs more than the rest.
type spill struct {
	head bytes.Buffer
	long chan io.ReadCloser

	pipe *io.PipeWriter
	out  *bufio.Writer // in front of pipe
}

// Write implements io.Writer.
func (s *spill) Write(p []byte) (int, error) {
	if s.pipe == nil {
		if s.head.Len()+len(p) <= wholeLimit {
			if s.head.Cap() == 0 {
				// Once: growing by steps touches twice the memory, and Buffer.Grow all of it.
				s.head = *bytes.NewBuffer(make([]byte, 0, wholeLimit))
			}
			return s.head.Write(p)
		}
		var r *io.PipeReader
		r, s.pipe = io.Pipe()
		s.out = bufio.NewWriterSize(s.pipe, 128<<10)
		s.long <- struct {
			io.Reader
			io.Closer
		}{io.MultiReader(&s.head, r), r}
	}
	return s.out.Write(p)
}

// close ends the reader, if there is one, with err, and returns err.
func (s *spill) close(err error) error {
	if s.pipe == nil {
		return err
	}
	if err == nil {
		err = s.out.Flush()
	}
	s.pipe.CloseWithError(err)
	return err
}
