package criu

import (
	"encoding/binary"

	"pier/lib/errkind"
)

// What the two sides say to each other is in CRIU's images/rpc.proto, in the encoding of protocol buffers: a message is a row
// of fields, each a number that holds its place and its kind, and a value. Of its kinds two are in use: numbers, and bytes
// with their length before them. That is little enough to write here, and spares each start of this program a library.

const (
	kindNumber  = 0
	kindFixed64 = 1
	kindBytes   = 2
	kindFixed32 = 5
)

// message is one that is being written.
type message []byte

func (m *message) number(field int, n int64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|kindNumber)
	*m = binary.AppendUvarint(*m, uint64(n))
}

// flag writes true; false is what nothing means.
func (m *message) flag(field int, on bool) {
	if on {
		m.number(field, 1)
	}
}

func (m *message) bytes(field int, b []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|kindBytes)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// text writes s unless it is empty.
func (m *message) text(field int, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

// field is one that was read. Of a kind that means nothing to us it has neither.
type field struct {
	number int
	value  uint64
	bytes  []byte
}

// fields reads a message, whose bytes they share.
func fields(b []byte) (all []field, err error) {
	bad := errkind.New(errkind.Internal, "criu's answer is no message")
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 > 1<<29 {
			return nil, bad
		}
		b = b[n:]
		f := field{number: int(tag >> 3)}
		size := uint64(0)
		switch tag & 7 {
		case kindNumber:
			if f.value, n = binary.Uvarint(b); n <= 0 {
				return nil, bad
			}
			size = uint64(n)
		case kindBytes:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return nil, bad
			}
			b = b[n:]
			f.bytes, size = b[:length], length
		case kindFixed64:
			size = 8
		case kindFixed32:
			size = 4
		default:
			return nil, bad
		}
		if size > uint64(len(b)) {
			return nil, bad
		}
		b = b[size:]
		all = append(all, f)
	}
	return all, nil
}

// The kinds of requests and answers (criu_req_type).
const (
	kindDump    = 1
	kindRestore = 2
	kindCheck   = 3
	kindPreDump = 4
	kindNotify  = 6
	kindFeature = 9
	kindVersion = 10
)

// answer is what criu says (criu_resp).
type answer struct {
	kind    int
	success bool
	errno   int
	message string // the first error that it met; from 3.19 on
	pid     int    // of the process that was restored
	script  string // of a notice: what is about to happen, or has
	scripts int    // of a notice: the process
	version int    // as 31700 for 3.17
	lazy    bool   // of a question for features
	track   bool
}

func parseAnswer(b []byte) (a answer, err error) {
	all, err := fields(b)
	if err != nil {
		return a, err
	}
	for _, f := range all {
		var inner []field
		if f.bytes != nil && f.number != 9 {
			if inner, err = fields(f.bytes); err != nil {
				return a, err
			}
		}
		switch f.number {
		case 1:
			a.kind = int(f.value)
		case 2:
			a.success = f.value != 0
		case 4:
			for _, g := range inner {
				if g.number == 1 {
					a.pid = int(g.value)
				}
			}
		case 5:
			for _, g := range inner {
				switch g.number {
				case 1:
					a.script = string(g.bytes)
				case 2:
					a.scripts = int(g.value)
				}
			}
		case 7:
			a.errno = int(f.value)
		case 8:
			for _, g := range inner {
				switch g.number {
				case 1:
					a.track = g.value != 0
				case 2:
					a.lazy = g.value != 0
				}
			}
		case 9:
			a.message = string(f.bytes)
		case 10:
			part := map[int]int{}
			for _, g := range inner {
				part[g.number] = int(g.value)
			}
			// A release candidate has no sublevel, and counts as what it will be.
			a.version = part[1]*10000 + part[2]*100 + part[4]
		}
	}
	return a, nil
}

// options are the arguments of a request (criu_opts) as they are used here. What is zero is not said.
type options struct {
	images, work   int // our descriptors
	pid            int
	log            string
	root           string
	leaveRunning   bool
	extUnix        bool
	tcpEstablished bool
	tcpSkip        bool
	tcpClose       bool
	shellJob       bool
	fileLocks      bool
	linkRemap      bool
	autoDedup      bool
	lazyPages      bool
	orphanMaster   bool
	evasive        bool
	trackMem       bool
	sibling        bool
	parent         string
	freeze         string
	config         string
	lsmProfile     string
	lsmMount       string
	emptyNs        int
	networkLock    int
	server         *PageServer
	external       []string
	inherit        []inherited
}

// inherited is a descriptor that criu was given, and what is to become of it.
type inherited struct {
	key string
	fd  int
}

// logLevel has criu write what is needed to understand an error: all but the most minute.
const logLevel = 4

// manageNone leaves control groups to us (criu_cg_mode IGNORE).
const manageNone = 0

func (o *options) encode() []byte {
	var m message
	m.number(1, int64(o.images))
	if o.pid != 0 {
		m.number(2, int64(o.pid))
	}
	m.flag(3, o.leaveRunning)
	m.flag(4, o.extUnix)
	m.flag(5, o.tcpEstablished)
	m.flag(6, o.evasive)
	m.flag(7, o.shellJob)
	m.flag(8, o.fileLocks)
	m.number(9, logLevel)
	m.text(10, o.log)
	if s := o.server; s != nil {
		var server message
		server.text(1, s.Address)
		server.number(2, int64(s.Port))
		m.bytes(11, server)
	}
	m.number(12, 1) // notices
	m.text(13, o.root)
	m.text(14, o.parent)
	m.flag(15, o.trackMem)
	m.flag(16, o.autoDedup)
	m.number(17, int64(o.work))
	m.flag(18, o.linkRemap)
	m.number(24, 1)
	m.flag(26, o.sibling)
	for _, i := range o.inherit {
		var one message
		one.text(1, i.key)
		one.number(2, int64(i.fd))
		m.bytes(27, one)
	}
	m.number(34, manageNone)
	for _, e := range o.external {
		m.text(37, e)
	}
	if o.emptyNs != 0 {
		m.number(38, int64(o.emptyNs))
	}
	m.text(44, o.freeze)
	m.flag(46, o.tcpSkip)
	m.flag(48, o.lazyPages)
	m.flag(50, o.orphanMaster)
	m.text(51, o.config)
	m.flag(52, o.tcpClose)
	m.text(53, o.lsmProfile)
	m.text(63, o.lsmMount)
	if o.networkLock != 0 {
		m.number(64, int64(o.networkLock))
	}
	return m
}
