package spawn

import (
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// call is one prepared system call. The assembly knows this layout; its size is 1<<7.
type call struct {
	nr        uintptr
	args      [6]uintptr
	indirect  uintptr // bit i: args[i] is the address of a Slot, whose value is passed
	tolerate  uint64  // bit n: errno n is not a failure
	onSuccess uintptr // calls to skip after success
	onError   uintptr // calls to skip after a tolerated errno
	out       *uint64 // where the result of a success goes as well
	result    int64   // what the kernel returned, -errno included
	done      uint64  // 1 once the child began it
	caught    *uint64 // where a tolerated errno goes
	addresses uint64  // bit i: args[i] is an address in what the list keeps; for Split, the assembly does not know it
}

// List is a program of system calls for a child, in the order in which they were added. It is used for one Run, or for one
// after each Again, by one goroutine; only Child may be called from others.
type List struct {
	calls []call
	names []name
	keep  []any // what the calls' addresses point into

	text  []byte     // room for strings: some hundred of them, most short
	slots []uint64   // room for slots
	full  [][]uint64 // former rooms

	child  childIDs
	pid    atomic.Pointer[atomic.Int32] // where the kernel stores the child's number
	cloned chan struct{}                // closed when the clone has returned
	split  bool                         // Split was called

	mu     sync.Mutex // guards second
	second *int32     // the number of the process after Split, nil while there is no island
}

type name struct{ call, path string }

// Slot is a number that the child learns on the way: the result of one call, the argument of later ones.
type Slot struct{ v *uint64 }

// Arg is one argument of a call.
type Arg struct {
	v                 uintptr
	indirect, address bool
}

func addressOf(p unsafe.Pointer) Arg { return Arg{v: uintptr(p), address: true} }

// Int is a number.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](n T) Arg {
	return Arg{v: uintptr(n)}
}

// From is the value that s holds when the call is made.
func From(s Slot) Arg { return Arg{v: uintptr(unsafe.Pointer(s.v)), indirect: true, address: true} }

// New returns an empty list with room for some calls. It grows beyond that, which costs.
func New(room int) *List {
	l := &List{cloned: make(chan struct{})}
	l.calls = make([]call, 0, room)
	l.names = make([]name, 0, room)
	l.child.pidfd.Store(-1)
	l.pid.Store(&l.child.pid)
	return l
}

const noSlot = ^uint64(0)

// Slot returns a fresh slot holding -1 (as a descriptor: none).
func (l *List) Slot() Slot {
	if len(l.slots) == cap(l.slots) {
		l.full = append(l.full, l.slots)
		l.slots = make([]uint64, 0, 128)
		l.keep = append(l.keep, l.slots[:cap(l.slots)])
	}
	l.slots = append(l.slots, noSlot)
	return Slot{&l.slots[len(l.slots)-1]}
}

// Set gives the slot a number before Run.
func (s Slot) Set(n int) { *s.v = uint64(n) }

// Again makes a list whose Run has returned ready for another one. It forgets all results and what slots hold; what the
// list refers to outside, descriptors say, must still be what it was.
func Again(l *List) {
	for i := range l.calls {
		c := &l.calls[i]
		c.result, c.done = 0, 0
		if c.caught != nil {
			*c.caught = 0
		}
	}
	for _, slots := range append(l.full, l.slots) {
		for i := range slots {
			slots[i] = noSlot
		}
	}
	l.child.pid.Store(0)
	l.child.pidfd.Store(-1)
	l.pid.Store(&l.child.pid)
	l.cloned = make(chan struct{})
}

// String returns the address of s with a terminating zero; s itself holds no zero.
func (l *List) String(s string) Arg {
	if len(s)+1 > cap(l.text)-len(l.text) {
		chunk := 2 << 10
		if l.text != nil {
			chunk = 8 << 10
		}
		l.text = make([]byte, 0, max(chunk, len(s)+1))
		l.keep = append(l.keep, l.text[:cap(l.text)])
	}
	at := len(l.text)
	l.text = append(append(l.text, s...), 0) // never grows: an address once given stays good
	return addressOf(unsafe.Pointer(&l.text[at]))
}

// Pointer returns the address of *p, which stays in use until Run has returned. It must be on the heap, which
// it is by being kept here.
func Pointer[T any](l *List, p *T) Arg {
	l.keep = append(l.keep, p)
	return addressOf(unsafe.Pointer(p))
}

// Slice returns the address of the first element of s, which stays in use until Run has returned; 0 if it is empty.
func Slice[T any](l *List, s []T) Arg {
	if len(s) == 0 {
		return Arg{}
	}
	l.keep = append(l.keep, s)
	return addressOf(unsafe.Pointer(&s[0]))
}

// Strings returns the address of a zero-terminated array of addresses of strings, as execve takes it.
func (l *List) Strings(list []string) Arg {
	size := 0
	for _, s := range list {
		size += len(s) + 1
	}
	text := make([]byte, 0, size)
	array := make([]*byte, len(list)+1)
	for i, s := range list {
		at := len(text)
		text = append(append(text, s...), 0)
		array[i] = &text[at]
	}
	l.keep = append(l.keep, text, array)
	return addressOf(unsafe.Pointer(&array[0]))
}

// File returns the descriptor number of f, which is kept open until Run has returned (unless its owner closes it).
func (l *List) File(f *os.File) Arg {
	l.keep = append(l.keep, f)
	return Int(number(f))
}

// number is a file's descriptor, -1 where it is closed.
func number(f *os.File) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// Call is a call that was added; its methods refine it and return it.
type Call struct {
	l *List
	i int
}

// Add appends system call nr. What and path say in an error what failed: a call or its purpose, and its object.
func (l *List) Add(what, path string, nr uintptr, args ...Arg) Call {
	c := call{nr: nr}
	for i, a := range args {
		c.args[i] = a.v
		if a.indirect {
			c.indirect |= 1 << i
		}
		if a.address {
			c.addresses |= 1 << i
		}
	}
	l.calls = append(l.calls, c)
	l.names = append(l.names, name{what, path})
	return Call{l, len(l.calls) - 1}
}

// The numbers that the interpreter takes for Check, CheckNot and Split.
const (
	checkNR    = ^uintptr(0)
	checkNotNR = ^uintptr(1)
	splitNR    = ^uintptr(2)
)

// Check appends a comparison: the eight bytes at p, masked, must be want; otherwise it fails like a call, with errno.
func (l *List) Check(what, path string, p Arg, mask, want uint64, errno syscall.Errno) Call {
	return l.Add(what, path, checkNR, p, Int(mask), Int(want), Int(uintptr(errno)))
}

// CheckNot is Check for a difference: the masked bytes at p must not be want.
func (l *List) CheckNot(what, path string, p Arg, mask, want uint64, errno syscall.Errno) Call {
	return l.Add(what, path, checkNotNR, p, Int(mask), Int(want), Int(uintptr(errno)))
}

// Clear appends a store: *p is 0 from then on. It cannot fail and is no system call. *p is on the heap or outlives Run in
// another way; it is not for what comes after a Split, which does not share it.
func Clear(l *List, p *uint64) Call {
	return l.Check("clear", "", Pointer(l, p), 0, 0, 0).Into(Slot{p})
}

// Split appends the child's division in two: a new process, born with the rights and descriptors that the child has by
// then, goes on with the list and is what Run returns; the child ends. Neither has a look at our memory: a list with a
// Split is run in a copy of what it keeps, and of that alone. It is for a child that others, in a pid namespace which the
// list has entered by setns, might trace on its way. It costs about a millisecond. One Split in a list. Not for programs
// with cgo: the kernel writes to memory that their C library has named to it (rseq), wherever the process is.
func (l *List) Split() Call {
	l.split = true
	return l.Add("clone", "", splitNR)
}

// At returns the call that was added at place.
func (l *List) At(place int) Call { return Call{l, place} }

// Here is the place after the last call, for OnSuccess and OnError.
func (l *List) Here() int { return len(l.calls) }

// Into stores the result of a success in s as well.
func (c Call) Into(s Slot) Call {
	c.l.calls[c.i].out = s.v
	return c
}

// Tolerate makes the given errnos (below 64) no failure: the child goes on. No argument means all of them.
func (c Call) Tolerate(errnos ...syscall.Errno) Call {
	mask := ^uint64(0)
	if len(errnos) > 0 {
		mask = 0
	}
	for _, e := range errnos {
		mask |= bits.RotateLeft64(1, int(e))
	}
	c.l.calls[c.i].tolerate |= mask
	return c
}

// Catch stores a tolerated errno in *p, which stays in use until Run has returned.
func (c Call) Catch(p *uint64) Call {
	c.l.calls[c.i].caught = p
	c.l.keep = append(c.l.keep, p)
	return c
}

// OnSuccess makes the child go on at place (Here of a later moment) after a success.
func (c Call) OnSuccess(place int) { c.l.calls[c.i].onSuccess = uintptr(place - c.i - 1) }

// OnError makes the child go on at place after a tolerated errno.
func (c Call) OnError(place int) { c.l.calls[c.i].onError = uintptr(place - c.i - 1) }

// Result returns what the call gave: done is false if the child did not come to it or has not yet returned from it
// (an execve that succeeded, say); errno is 0 after a success.
func (c Call) Result() (done bool, value int64, errno syscall.Errno) {
	k := &c.l.calls[c.i]
	if k.result < 0 && k.result >= -4095 {
		return k.done != 0, 0, syscall.Errno(-k.result)
	}
	return k.done != 0, k.result, 0
}

// Address is the place of s itself, for Check.
func (l *List) Address(s Slot) Arg { return addressOf(unsafe.Pointer(s.v)) }
