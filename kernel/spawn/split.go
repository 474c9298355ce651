//go:build linux && (amd64 || arm64)

package spawn

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A list with a Split is worked through by two processes, of which neither shares our memory:
//
//	we            first process                                second process
//	--            -------------                                --------------
//	copy what the list keeps to an island of memory
//	clone ------> unmap all but the island and the assembly
//	wait          calls before Split: gives its rights up
//	              Split: clone ------------------------------> calls after Split, with the rights that are left
//	              wait in the kernel; read nothing of ours     execve
//	              exit
//	take the second one's pidfd, copy the results back
//
// The second process is what others may see and trace. It is born without a right, a descriptor or a byte that its
// program will not have, but for the island, which holds what was prepared for this program alone. The first process is
// outside of the pid namespace that it has entered for its children.

// cloneAddress is where the assembly lies.
func cloneAddress() uintptr

// island is memory that outlives the first process's unmapping: shared with both processes, but for the last page.
type island struct {
	memory []byte
	used   uintptr
	moved  []moved
	calls  []call
	failed **call
	pid    *int32 // gets the second process's number; on a page that this one does not have
	lead   int    // calls before those of the list
}

// moved says that size bytes at the address from were copied to the place to of the island.
type moved struct{ from, size, to uintptr }

const align = 16

// runSplit is Run for a list with a Split.
func (l *List) runSplit(o Options, args *cloneArgs) (*Child, error) {
	w, err := l.moveOut(o.PidTo)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(w.memory) }()
	l.show(w.pid)
	defer l.show(nil) // before the memory goes
	args.flags &^= unix.CLONE_VM
	first := &w.calls[0]
	end := (*call)(unsafe.Add(unsafe.Pointer(first), len(w.calls)*int(unsafe.Sizeof(call{}))))
	stop := l.killWith(o.Context)
	r, err := l.onThread(o, args, first, end, w.failed)
	stop()
	if err != nil {
		return nil, err
	}
	if errno := -int64(r); errno > 0 && errno <= 4095 {
		return nil, &Error{Call: "clone3", Errno: syscall.Errno(errno), Index: -1}
	}
	reap(&Child{Pid: int(r), Pidfd: os.NewFile(uintptr(l.child.pidfd.Load()), "pidfd:"+strconv.Itoa(int(r)))})
	failed := l.moveIn(w)
	pid := int(*w.pid)
	if pid == 0 || pid == int(r) { // the first one's
		return nil, l.failure(failed)
	}
	// It is our child and nobody has reaped it: the number is its own.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, &Error{Call: "pidfd_open", Path: strconv.Itoa(pid), Errno: err.(syscall.Errno), Index: -1}
	}
	child := &Child{Pid: pid, Pidfd: os.NewFile(uintptr(fd), "pidfd:"+strconv.Itoa(pid))}
	if failed == nil && l.executed() && (o.Context == nil || o.Context.Err() == nil) {
		return child, nil
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	go reap(child) // whoever traces it may keep us waiting
	return nil, l.failure(failed)
}

// show makes pid what Child looks at.
func (l *List) show(pid *int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.second = pid
}

// moveOut copies all that the list keeps to an island, and its calls with their addresses changed. The number of the second
// process goes to pidTo, or where that is nil to the island.
func (l *List) moveOut(pidTo *int32) (*island, error) {
	page := uintptr(os.Getpagesize())
	kept := make([]reflect.Value, 0, len(l.keep))
	size := (uintptr(len(l.calls))+maxLead)*unsafe.Sizeof(call{}) + 2*align
	for _, k := range l.keep {
		if _, ok := k.(*os.File); ok {
			continue
		}
		v := reflect.ValueOf(k)
		kept = append(kept, v)
		size += sizeOf(v) + align
	}
	size = (size+page-1)&^(page-1) + page
	memory, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, &Error{Call: "mmap", Errno: err.(syscall.Errno), Index: -1}
	}
	w := &island{memory: memory}
	if w.pid = pidTo; pidTo == nil {
		w.pid = (*int32)(unsafe.Pointer(&memory[size-page]))
	}
	w.failed = (**call)(w.take(unsafe.Sizeof(uintptr(0))))
	for _, v := range kept {
		n := sizeOf(v)
		w.moved = append(w.moved, moved{v.Pointer(), n, w.used})
		copy(unsafe.Slice((*byte)(w.take(n)), n), unsafe.Slice((*byte)(v.UnsafePointer()), n))
	}
	for i, v := range kept {
		if err := w.fix(v.Type(), unsafe.Pointer(&memory[w.moved[i].to]), w.moved[i].size); err != nil {
			_ = unix.Munmap(memory)
			return nil, err
		}
	}
	if err := w.moveCalls(l, page); err != nil {
		_ = unix.Munmap(memory)
		return nil, err
	}
	return w, nil
}

// take reserves n bytes.
func (w *island) take(n uintptr) unsafe.Pointer {
	p := unsafe.Pointer(&w.memory[w.used])
	w.used += (n + align - 1) &^ (align - 1)
	return p
}

// sizeOf is the size of what v, a slice or a pointer, leads to.
func sizeOf(v reflect.Value) uintptr {
	if v.Kind() == reflect.Slice {
		return uintptr(v.Len()) * v.Type().Elem().Size()
	}
	return v.Type().Elem().Size()
}

// fix changes the pointers in a copy, one level deep: those of an array of strings, and in the fields of a struct.
func (w *island) fix(t reflect.Type, at unsafe.Pointer, size uintptr) error {
	elem := t.Elem()
	var fields []uintptr
	switch elem.Kind() {
	case reflect.Pointer:
		fields = append(fields, 0)
	case reflect.Struct:
		for f := range elem.Fields() {
			if f.Type.Kind() == reflect.Pointer {
				fields = append(fields, f.Offset)
			}
		}
	}
	for start := uintptr(0); len(fields) > 0 && start < size; start += elem.Size() {
		for _, f := range fields {
			if err := w.change((*uintptr)(unsafe.Add(at, start+f))); err != nil {
				return err
			}
		}
	}
	return nil
}

// change turns an address of the list's own memory into the island's. Zero stays.
func (w *island) change(p *uintptr) error {
	if *p == 0 {
		return nil
	}
	place, ok := w.find(*p)
	if !ok {
		return fmt.Errorf("split a list of calls: it does not keep what is at %#x", *p)
	}
	*p = uintptr(unsafe.Pointer(&w.memory[place]))
	return nil
}

// find returns the place of the copy of what was at address.
func (w *island) find(address uintptr) (place uintptr, ok bool) {
	for i := range w.moved {
		if m := &w.moved[i]; address >= m.from && address < m.from+m.size {
			return address - m.from + m.to, true
		}
	}
	return 0, false
}

// maxLead bounds the calls that come before those of the list.
const maxLead = 16

// moveCalls writes the first process's calls: those that leave it nothing of ours but the island, then the list.
func (w *island) moveCalls(l *List, page uintptr) error {
	lead, err := w.unmapOthers(page)
	if err != nil {
		return err
	}
	lead = append(lead, call{nr: unix.SYS_MADVISE, args: [6]uintptr{w.pidPage(page), page, unix.MADV_DONTFORK}})
	w.lead = len(lead)
	n := len(lead) + len(l.calls)
	w.calls = unsafe.Slice((*call)(w.take(uintptr(n)*unsafe.Sizeof(call{}))), n)
	copy(w.calls[copy(w.calls, lead):], l.calls)
	for i := range w.calls[len(lead):] {
		c := &w.calls[len(lead)+i]
		for a := range c.args {
			if c.addresses&(1<<a) != 0 {
				if err := w.change(&c.args[a]); err != nil {
					return err
				}
			}
		}
		for _, p := range []**uint64{&c.out, &c.caught} {
			if err := w.change((*uintptr)(unsafe.Pointer(p))); err != nil {
				return err
			}
		}
		if c.nr == splitNR {
			c.args = [6]uintptr{unix.CLONE_PARENT | unix.CLONE_VFORK | unix.CLONE_PARENT_SETTID, 0, uintptr(unsafe.Pointer(w.pid))}
		}
	}
	return nil
}

// pidPage is the page with the second process's number.
func (w *island) pidPage(page uintptr) uintptr { return uintptr(unsafe.Pointer(w.pid)) &^ (page - 1) }

// unmapOthers are the calls that unmap everything but the island, the assembly and the kernel's own pages.
func (w *island) unmapOthers(page uintptr) ([]call, error) {
	system, err := systemPages()
	if err != nil {
		return nil, err
	}
	text := cloneAddress() &^ (page - 1)
	here := uintptr(unsafe.Pointer(&w.memory[0]))
	number := w.pidPage(page)
	keep := append(slices.Clone(system.keep), span{text, text + 2*page}, span{here, here + uintptr(len(w.memory))}, span{number, number + page})
	slices.SortFunc(keep, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	keep = append(keep, span{max(system.top, keep[len(keep)-1].to), 0})
	var calls []call
	at := uintptr(0)
	for _, k := range keep {
		if k.from > at {
			calls = append(calls, call{nr: unix.SYS_MUNMAP, args: [6]uintptr{at, k.from - at}})
		}
		at = max(at, k.to)
	}
	if len(calls) >= maxLead {
		return nil, fmt.Errorf("split a list of calls: %d ranges of memory to unmap", len(calls))
	}
	return calls, nil
}

type span struct{ from, to uintptr }

// layout is what of a process's memory the kernel gave it.
type layout struct {
	keep []span  // the kernel's own pages, which hold nothing of ours and may not be unmapped everywhere (mseal)
	top  uintptr // nothing of ours is above it
}

var systemPages = sync.OnceValues(func() (layout, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return layout{}, fmt.Errorf("split a list of calls: %w", err)
	}
	var out layout
	for line := range bytes.Lines(maps) {
		var s span
		if _, err := fmt.Sscanf(string(line), "%x-%x", &s.from, &s.to); err != nil {
			return out, fmt.Errorf("split a list of calls: /proc/self/maps: %w", err)
		}
		name := string(line[bytes.LastIndexByte(line, ' ')+1:])
		if strings.Contains(name, "/libc.so") { // the kernel kills a process that has lost the memory where libc wants to read its processor (rseq)
			return out, errors.New("split a list of calls: this program is linked with libc: build it with CGO_ENABLED=0")
		}
		if strings.HasPrefix(name, "[vsyscall]") {
			continue // above what a process can map and unmap
		}
		out.top = max(out.top, s.to)
		if strings.HasPrefix(name, "[v") {
			out.keep = append(out.keep, s)
		}
	}
	return out, nil
})

// moveIn copies the results back and returns the call that failed. What the second process has written is only believed
// where it harms nobody but itself.
func (l *List) moveIn(w *island) *call {
	for i := range l.calls {
		c := &w.calls[w.lead+i]
		l.calls[i].result, l.calls[i].done = c.result, c.done
	}
	for _, k := range l.keep {
		p, ok := k.(*uint64)
		if !ok {
			continue
		}
		if place, ok := w.find(uintptr(unsafe.Pointer(p))); ok {
			*p = *(*uint64)(unsafe.Pointer(&w.memory[place]))
		}
	}
	failed := uintptr(unsafe.Pointer(*w.failed))
	first := uintptr(unsafe.Pointer(&w.calls[0]))
	size := unsafe.Sizeof(call{})
	switch i := (failed - first) / size; {
	case failed == 0:
		return nil
	case failed < first || i >= uintptr(len(w.calls)):
		return &l.calls[len(l.calls)-1]
	case i < uintptr(w.lead):
		l.calls[0].result, l.calls[0].done = w.calls[i].result, 1
		return &l.calls[0]
	default:
		return &l.calls[i-uintptr(w.lead)]
	}
}
