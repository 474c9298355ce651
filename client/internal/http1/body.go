package http1

import (
	"io"
	"strconv"
	"strings"
	"sync"
)

// maxChunkLine bounds the line before a chunk, in bytes.
const maxChunkLine = 4 << 10

// body is the body of an answer. Its end, or Close, gives the connection back. It is for one reader; anyone may close it.
type body struct {
	exchange *exchange
	chunked  bool
	left     int64 // bytes of the body, or of this chunk, still to come; -1: up to the end of the connection
	begun    bool  // the first chunk has been read
	err      error // what every further Read returns
	once     sync.Once
	done     func(whole bool) // whole: the answer ended where it should
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 && b.chunked {
		if err := b.nextChunk(); err != nil {
			return 0, b.end(err)
		}
	}
	if b.left == 0 {
		return 0, b.end(io.EOF)
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.exchange.wire.r.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
		if err != nil {
			err = unexpected(err)
		} else if b.left == 0 && !b.chunked {
			err = io.EOF
		}
	}
	if err != nil {
		err = b.end(err)
	}
	return n, err
}

// nextChunk reads the line before a chunk, and after the last one the trailer: then left stays 0 and chunked ends.
func (b *body) nextChunk() error {
	if b.begun {
		var end [2]byte
		if _, err := io.ReadFull(b.exchange.wire.r, end[:]); err != nil {
			return unexpected(err)
		}
		if string(end[:]) != "\r\n" {
			return malformed("a chunk is longer than it says")
		}
	}
	b.begun = true
	room := maxChunkLine
	line, err := readLine(b.exchange.wire.r, &room)
	if err != nil {
		return unexpected(err)
	}
	digits, _, _ := strings.Cut(line, ";") // extensions say nothing to us
	n, err := strconv.ParseUint(trim(digits), 16, 63)
	if err != nil {
		return malformed("%q is no length of a chunk", shortened(line))
	}
	if b.left = int64(n); n > 0 {
		return nil
	}
	b.chunked = false
	room = maxHead
	_, err = readFields(b.exchange.wire.r, &room)
	return err
}

// end notes how the body ended and returns that.
func (b *body) end(err error) error {
	if err != io.EOF {
		err = b.exchange.cause(err)
	}
	b.err = err
	b.once.Do(func() { b.done(err == io.EOF) })
	return err
}

// Close implements io.Closer. A rest of the body that nobody read costs the connection.
func (b *body) Close() error {
	b.once.Do(func() { b.done(false) })
	return nil
}
