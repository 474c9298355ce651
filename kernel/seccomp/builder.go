package seccomp

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// builder writes a program from its end to its beginning, because BPF jumps only forward: what is jumped to is always
// there already. A position counts instructions from the end, the last one being 0.
type builder struct {
	code []unix.SockFilter // reversed
	rets map[answer]int    // where each answer was last written
}

// target is where a jump leads: to a position, or to an answer wherever that is near.
type target struct {
	position int
	answer   answer
	isAnswer bool
}

// reach is how far a conditional jump gets, less what resolving its second target may add in between.
const reach = 255 - 2

func newBuilder() *builder { return &builder{rets: make(map[answer]int)} }

func (b *builder) emit(code uint16, jt, jf uint8, k uint32) {
	b.code = append(b.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

// last is the position of the instruction written last, the one that runs after the next one written.
func (b *builder) last() int { return len(b.code) - 1 }

func (b *builder) at(position int) target { return target{position: position} }

func (b *builder) ret(a answer) target { return target{answer: a, isAnswer: true} }

// resolve returns a position for t that the next instruction but one can reach. An answer too far away is written anew,
// a far position gets a long jump in between.
func (b *builder) resolve(t target) int {
	if t.isAnswer {
		if position, ok := b.rets[t.answer]; ok && len(b.code)-position <= reach {
			return position
		}
		b.emit(unix.BPF_RET|unix.BPF_K, 0, 0, t.answer)
		b.rets[t.answer] = b.last()
		return b.last()
	}
	if len(b.code)-t.position > reach {
		b.emit(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(b.last()-t.position))
		return b.last()
	}
	return t.position
}

// jump writes a comparison of the loaded word with k.
func (b *builder) jump(op uint16, k uint32, yes, no target) target {
	if yes == no {
		return yes
	}
	jt := b.resolve(yes)
	jf := b.resolve(no)
	here := len(b.code)
	b.emit(unix.BPF_JMP|op|unix.BPF_K, uint8(here-jt-1), uint8(here-jf-1), k)
	return b.at(here)
}

// load writes the loading of a word of struct seccomp_data; it goes on with the instruction written last.
func (b *builder) load(offset uint32) target {
	b.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset)
	return b.at(b.last())
}

// search writes a binary search for the loaded number. Its entry is the instruction written last.
func (b *builder) search(intervals []interval) {
	entries := make([]target, len(intervals))
	shared := make(map[answer][]int) // equal decisions with conditions are written once
	for i, v := range intervals {
		entries[i] = b.decide(intervals, entries, shared, i, v.decision)
	}
	b.land(b.bisect(intervals, entries))
}

// land makes t what runs after the next instruction written.
func (b *builder) land(t target) {
	position := t.position
	if t.isAnswer {
		position = b.resolve(t)
	}
	if position != b.last() {
		b.emit(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(b.last()-position))
	}
}

func (b *builder) bisect(intervals []interval, entries []target) target {
	if len(intervals) == 1 {
		return entries[0]
	}
	half := len(intervals) / 2
	high := b.bisect(intervals[half:], entries[half:])
	low := b.bisect(intervals[:half], entries[:half])
	return b.jump(unix.BPF_JGE, intervals[half].first, high, low)
}

// decide writes the decision of interval i, unless it is a plain answer or equal to an earlier one.
func (b *builder) decide(intervals []interval, entries []target, shared map[answer][]int, i int, d decision) target {
	if len(d.rules) == 0 {
		return b.ret(d.otherwise)
	}
	for _, j := range shared[d.otherwise] {
		if intervals[j].decision.equal(d) {
			return entries[j]
		}
	}
	shared[d.otherwise] = append(shared[d.otherwise], i)
	next := b.ret(d.otherwise)
	for r := len(d.rules) - 1; r >= 0; r-- {
		entry := b.ret(d.rules[r].answer)
		for c := len(d.rules[r].conditions) - 1; c >= 0; c-- {
			entry = b.compare(d.rules[r].conditions[c], entry, next)
		}
		next = entry
	}
	return next
}

// compare writes one condition; yes and no are where it leads.
func (b *builder) compare(c condition, yes, no target) target {
	switch c.op {
	case specs.OpNotEqual:
		c.op = specs.OpEqualTo
		return b.compare(c, no, yes)
	case specs.OpLessThan:
		c.op = specs.OpGreaterEqual
		return b.compare(c, no, yes)
	case specs.OpLessEqual:
		c.op = specs.OpGreaterThan
		return b.compare(c, no, yes)
	}
	low, high := offsetArgs+8*uint32(c.arg), offsetArgs+8*uint32(c.arg)+4
	switch c.op {
	case specs.OpMaskedEqual:
		entry := b.masked(low, uint32(c.value), uint32(c.second), yes, no)
		if c.narrow || c.value>>32 == 0 {
			return entry
		}
		return b.masked(high, uint32(c.value>>32), uint32(c.second>>32), entry, no)
	case specs.OpEqualTo:
		entry := b.word(low, unix.BPF_JEQ, uint32(c.value), yes, no)
		if c.narrow {
			return entry
		}
		return b.word(high, unix.BPF_JEQ, uint32(c.value>>32), entry, no)
	}
	op := uint16(unix.BPF_JGE)
	if c.op == specs.OpGreaterThan {
		op = unix.BPF_JGT
	}
	entry := b.word(low, op, uint32(c.value), yes, no)
	if c.narrow {
		return entry
	}
	entry = b.word(high, unix.BPF_JEQ, uint32(c.value>>32), entry, no)
	return b.word(high, unix.BPF_JGT, uint32(c.value>>32), yes, entry)
}

// word loads one half of an argument and compares it.
func (b *builder) word(offset uint32, op uint16, k uint32, yes, no target) target {
	entry := b.jump(op, k, yes, no)
	if entry == yes { // both ways lead to the same place
		return entry
	}
	return b.load(offset)
}

func (b *builder) masked(offset, mask, want uint32, yes, no target) target {
	entry := b.jump(unix.BPF_JEQ, want&mask, yes, no)
	if entry == yes {
		return entry
	}
	b.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0, 0, mask)
	return b.load(offset)
}

func (b *builder) program() (Program, error) {
	if len(b.code) > maxInstructions {
		return nil, errkind.New(errkind.Invalid, "compile seccomp profile: it takes %d instructions, the kernel allows %d; "+
			"use fewer conditions on arguments", len(b.code), maxInstructions)
	}
	forward := make([]unix.SockFilter, 0, len(b.code))
	for i := len(b.code) - 1; i >= 0; i-- {
		forward = append(forward, b.code[i])
	}
	return encode(forward), nil
}
