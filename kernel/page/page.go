// Package page keeps a few numbers in a file in such a way that they survive this process at any instruction: the file is
// mapped, and each store is in it at once. A power cut is another matter: nothing is synced.
//
// Start reading at Open.
package page

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// Words is the number of 64-bit words in a page.
const Words = 4096 / 8

// Page is a mapped file of 4 KiB. Stores and loads of one word are atomic and keep their order; who owns which word is
// the caller's affair. No method may be called after Close.
type Page struct {
	mem []byte
}

// Open maps the file at path, which is trusted, and makes it if it is missing; a new page is all zeros. The page belongs
// to one process at a time.
func Open(path string) (*Page, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(Words * 8); err != nil {
		return nil, err
	}
	p := &Page{}
	err = fd.With(f, func(n int) (err error) {
		p.mem, err = unix.Mmap(n, 0, Words*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return p, nil
}

// Close unmaps the page. The file stays.
func (p *Page) Close() error { return unix.Munmap(p.mem) }

func (p *Page) word(i int) *uint64 { return (*uint64)(unsafe.Pointer(&p.mem[i*8])) }

// Load returns word i.
func (p *Page) Load(i int) uint64 { return atomic.LoadUint64(p.word(i)) }

// Store sets word i.
func (p *Page) Store(i int, v uint64) { atomic.StoreUint64(p.word(i), v) }

// Bytes returns the page from word i on, as plain memory: stores are not atomic.
func (p *Page) Bytes(i int) []byte { return p.mem[i*8:] }

// Int32 returns the address of the low half of word i in the page, for a system call to write to: both architectures
// that containers run on are little endian.
func (p *Page) Int32(i int) *int32 { return (*int32)(unsafe.Pointer(&p.mem[i*8])) }

// Uint64 returns the address of word i in the page, for a system call to write to.
func (p *Page) Uint64(i int) *uint64 { return p.word(i) }

// Byte returns the address of the first byte of word i in the page, for a system call to write to.
func (p *Page) Byte(i int) *byte { return &p.mem[i*8] }
