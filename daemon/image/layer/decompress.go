package layer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/mikelolasagasti/xz"

	"pier/lib/errkind"
)

// maxWindow bounds the memory that a zstd frame or an xz stream may ask for. `xz -9` asks for half of it.
const maxWindow = 128 << 20

// parallelFrom is how many compressed bytes must be waiting before unpacking gzip ahead in a second goroutine pays.
const parallelFrom = 64 << 10

// xzMagic begins an xz stream.
var xzMagic = [...]byte{0xfd, '7', 'z', 'X', 'Z', 0}

// DecompressGiven is Decompress for archives that users hand in themselves: they may be compressed with xz too, which no
// format of images knows for layers.
func DecompressGiven(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, parallelFrom)
	if head, _ := br.Peek(len(xzMagic)); !bytes.Equal(head, xzMagic[:]) {
		return Decompress(br)
	}
	z, err := xz.NewReader(br, maxWindow)
	if err != nil {
		return nil, invalidXZ(err)
	}
	return io.NopCloser(xzReader{z}), nil
}

// xzReader is z with errors that say what to do.
type xzReader struct{ z *xz.Reader }

func (r xzReader) Read(p []byte) (int, error) {
	n, err := r.z.Read(p)
	return n, invalidXZ(err)
}

func invalidXZ(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.Is(err, xz.ErrMemlimit):
		return errkind.New(errkind.Invalid, "read xz stream: it needs more than %d MiB of memory to unpack; "+
			"compress it again with xz -9 or less, gzip or zstd: %w", maxWindow>>20, err)
	}
	return errkind.New(errkind.Invalid, "read xz stream: %w", err)
}

// IsTooHungry reports whether err is of an xz stream that asks for more memory than it gets, and may be in order.
func IsTooHungry(err error) bool { return errors.Is(err, xz.ErrMemlimit) }

// Decompress returns the plain content of r, whose compression it tells by the first bytes: gzip, zstd, bzip2, or none.
// It works in this process; nothing is executed. Other formats that are known but not supported (xz) are
// errkind.Unsupported. Close frees the decompressor, not r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, parallelFrom)
	head, err := br.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		// A short stream is unpacked by the caller's own goroutine.
		if whole, _ := br.Peek(parallelFrom); len(whole) < parallelFrom {
			z, err := gzip.NewReader(br)
			return z, invalidGzip(err)
		}
		z, err := pgzip.NewReader(br)
		return z, invalidGzip(err)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), // a frame, or a skippable one
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "read zstd stream: %w", err)
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(br)), nil
	case bytes.HasPrefix(head, xzMagic[:]):
		return nil, errkind.New(errkind.Unsupported, "the archive is compressed with xz, which is not supported; recompress it with gzip or zstd")
	}
	return io.NopCloser(br), nil
}

func invalidGzip(err error) error {
	if err != nil {
		return errkind.New(errkind.Invalid, "read gzip stream: %w", err)
	}
	return nil
}
