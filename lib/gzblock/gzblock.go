// Package gzblock writes gzip files that can be read from the middle. Every block is a gzip member of its own (RFC 1952,
// 2.2), whose header says in an extra field how long the member is and carries a note of the writer's. A reader goes from
// header to header and decompresses only the blocks it wants; any other program reads the file as plain gzip.
//
// The extra field's subfield "Pb": four bytes of the member's whole length, four of the content's, little endian, then the
// note.
//
// Start reading at AppendBlock.
package gzblock

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// MaxNote bounds a note, in bytes.
const MaxNote = 256

const (
	fixed    = 10 // a member's header up to the extra field
	lengths  = 8
	trailer  = 8
	extraAt  = fixed + 2 // after the extra field's length
	maxBlock = 64 << 20  // of content; no writer of ours comes near it
)

// ErrFormat says that a file was not written by this package.
var ErrFormat = errors.New("not a gzip file of blocks")

// AppendBlock appends one block to dst, a bytes.Buffer, with w, which it resets. The note is at most MaxNote bytes long.
func AppendBlock(dst *bytes.Buffer, w *flate.Writer, content, note []byte) error {
	if len(note) > MaxNote || len(content) > maxBlock {
		return fmt.Errorf("block of %d bytes with a note of %d: too long", len(content), len(note))
	}
	begin := dst.Len()
	dst.Write([]byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255}) // deflate, an extra field, no time, unknown system
	head := make([]byte, 2+4+lengths, 2+4+lengths+len(note))
	binary.LittleEndian.PutUint16(head, uint16(4+lengths+len(note)))
	head[2], head[3] = 'P', 'b'
	binary.LittleEndian.PutUint16(head[4:], uint16(lengths+len(note)))
	binary.LittleEndian.PutUint32(head[10:], uint32(len(content)))
	dst.Write(append(head, note...))
	w.Reset(dst)
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	var end [trailer]byte
	binary.LittleEndian.PutUint32(end[:], crc32.ChecksumIEEE(content))
	binary.LittleEndian.PutUint32(end[4:], uint32(len(content)))
	dst.Write(end[:])
	binary.LittleEndian.PutUint32(dst.Bytes()[begin+extraAt+4:], uint32(dst.Len()-begin))
	return nil
}

// Block is one member of a file.
type Block struct {
	Offset int64 // of the member in the file
	Size   int64 // of the member, in bytes
	Length int   // of the content, in bytes
	Note   []byte
}

// Blocks lists the blocks of a file of size bytes by their headers alone. ErrFormat: it is another kind of file, or
// damaged; the blocks before the damage are returned too.
func Blocks(f io.ReaderAt, size int64) ([]Block, error) {
	var all []Block
	buf := make([]byte, extraAt+4+lengths+MaxNote)
	for at := int64(0); at < size; {
		n, err := f.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return all, err
		}
		head := buf[:n]
		if n < extraAt+4+lengths || head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 || head[3] != 4 ||
			head[extraAt] != 'P' || head[extraAt+1] != 'b' {
			return all, ErrFormat
		}
		extra := int(binary.LittleEndian.Uint16(head[fixed:]))
		sub := int(binary.LittleEndian.Uint16(head[extraAt+2:]))
		b := Block{Offset: at, Size: int64(binary.LittleEndian.Uint32(head[extraAt+4:])), Length: int(binary.LittleEndian.Uint32(head[extraAt+8:]))}
		if extra != sub+4 || sub < lengths || extraAt+extra > n || b.Size < int64(extraAt+extra+trailer) || b.Size > size-at || b.Length > maxBlock {
			return all, ErrFormat
		}
		b.Note = bytes.Clone(head[extraAt+4+lengths : extraAt+extra])
		all = append(all, b)
		at += b.Size
	}
	return all, nil
}

// Read decompresses one block of f. Damage is an error.
func (b Block) Read(f io.ReaderAt) ([]byte, error) {
	begin := int64(extraAt + 4 + lengths + len(b.Note))
	r := flate.NewReader(io.NewSectionReader(f, b.Offset+begin, b.Size-begin-trailer))
	defer r.Close()
	content := make([]byte, b.Length)
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, fmt.Errorf("block at %d: %w", b.Offset, err)
	}
	var end [trailer]byte
	if _, err := f.ReadAt(end[:], b.Offset+b.Size-trailer); err != nil {
		return nil, fmt.Errorf("block at %d: %w", b.Offset, err)
	}
	if binary.LittleEndian.Uint32(end[:]) != crc32.ChecksumIEEE(content) {
		return nil, fmt.Errorf("block at %d: the checksum differs", b.Offset)
	}
	return content, nil
}
