package packing

import (
	"compress/gzip"
	"io"
)

// Compressed reads r to its end through gzip. Whoever stops reading early closes what it returns.
func Compressed(r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		z := gzip.NewWriter(in)
		_, err := io.Copy(z, r)
		if err == nil {
			err = z.Close()
		}
		in.CloseWithError(err)
	}()
	return out
}
