package layer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"

	"pier/lib/errkind"
)

// A recipe tells how to put a layer's exact tar together again from the layer's folder: which bytes to take from the
// recipe itself (headers, padding, what no file holds) and which from files. So there is one copy of each file's
// content on disk, and yet the tar with the same digest comes out whenever the layer is saved or pushed.
//
// The file is an s2 stream of frames. A frame begins with its kind:
//
//	's' uvarint(n) n bytes                       bytes of the tar
//	'f' uvarint(n) n bytes of name uvarint(size) the first size bytes of the file name, below the layer's own folder
//
// Compared to Docker's tar-split file it can also hold archives that name one file twice, or hold sparse files.
const (
	frameSegment = 's'
	frameFile    = 'f'
	// maxSegment bounds one frame, hence the memory that reading takes. Longer segments become several frames.
	maxSegment = 1 << 20
	// maxName is the kernel's PATH_MAX with some room for the shadow folder's own names.
	maxName = 8 << 10
)

// recipeWriter writes the frames. Segments are gathered until a file comes between them.
type recipeWriter struct {
	w       *s2.Writer
	segment []byte
}

func newRecipeWriter(w io.Writer) *recipeWriter {
	// One block at a time in this goroutine: most recipes are a few KiB, and goroutines for them cost more.
	return &recipeWriter{w: s2.NewWriter(w, s2.WriterConcurrency(1), s2.WriterBlockSize(64<<10))}
}

// Write adds bytes of the tar.
func (r *recipeWriter) Write(p []byte) (int, error) {
	r.segment = append(r.segment, p...)
	if len(r.segment) >= maxSegment/2 {
		return len(p), r.flush()
	}
	return len(p), nil
}

// file adds the content of the file name.
func (r *recipeWriter) file(name string, size int64) error {
	if err := r.flush(); err != nil {
		return err
	}
	frame := append([]byte{frameFile}, binary.AppendUvarint(nil, uint64(len(name)))...)
	frame = append(frame, name...)
	frame = binary.AppendUvarint(frame, uint64(size))
	_, err := r.w.Write(frame)
	return err
}

func (r *recipeWriter) flush() error {
	for len(r.segment) > 0 {
		part := r.segment[:min(len(r.segment), maxSegment)]
		head := append([]byte{frameSegment}, binary.AppendUvarint(nil, uint64(len(part)))...)
		if _, err := r.w.Write(head); err != nil {
			return err
		}
		if _, err := r.w.Write(part); err != nil {
			return err
		}
		r.segment = r.segment[len(part):]
	}
	r.segment = r.segment[:0]
	return nil
}

// close writes what is left. The underlying writer stays open.
func (r *recipeWriter) close() error {
	if err := r.flush(); err != nil {
		return err
	}
	return r.w.Close()
}

// frame is one step of a recipe: bytes, or a file where name is not empty.
type frame struct {
	segment []byte
	name    string
	size    int64
}

// recipeReader reads frames until io.EOF.
type recipeReader struct {
	r   *bufio.Reader
	buf []byte
}

func newRecipeReader(r io.Reader) *recipeReader {
	return &recipeReader{r: bufio.NewReaderSize(s2.NewReader(r), 64<<10)}
}

// next returns the next frame; its segment is valid until the call after.
func (r *recipeReader) next() (frame, error) {
	kind, err := r.r.ReadByte()
	if err != nil {
		return frame{}, recipeError(err, true)
	}
	limit := uint64(maxSegment)
	if kind == frameFile {
		limit = maxName
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return frame{}, recipeError(err, false)
	}
	if n > limit || (kind != frameFile && kind != frameSegment) {
		return frame{}, errkind.New(errkind.Internal, "tar recipe is damaged: frame of kind %d with %d bytes", kind, n)
	}
	if uint64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	data := r.buf[:n]
	if _, err := io.ReadFull(r.r, data); err != nil {
		return frame{}, recipeError(err, false)
	}
	if kind == frameSegment {
		return frame{segment: data}, nil
	}
	size, err := binary.ReadUvarint(r.r)
	if err != nil {
		return frame{}, recipeError(err, false)
	}
	return frame{name: string(data), size: int64(size)}, nil
}

func recipeError(err error, atFrame bool) error {
	if atFrame && err == io.EOF {
		return io.EOF
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errkind.New(errkind.Internal, "tar recipe is damaged: it ends too early")
	}
	return fmt.Errorf("read tar recipe: %w", err)
}
