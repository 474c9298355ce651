package send

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
)

// Those that govern the buffer and the retries of Docker's client are taken and have no meaning: the log itself is the
// buffer, and delivering is tried for as long as the log holds what is to be delivered.
var fluentOptions = map[string]check{
	"fluentd-address": anything, "fluentd-async": boolean, "fluentd-async-connect": boolean, "fluentd-async-reconnect-interval": duration,
	"fluentd-buffer-limit": func(v string) error { _, err := units.RAMInBytes(v); return err },
	"fluentd-max-retries":  number(0, 1<<31-1), "fluentd-request-ack": boolean, "fluentd-retry-wait": duration,
	"fluentd-sub-second-precision": boolean, "fluentd-read-timeout": duration, "fluentd-write-timeout": duration,
}

// fluent speaks the forward protocol, version 1: https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
type fluent struct {
	wire
	tag     string
	fixed   []byte // the members of a record that are the same in all
	members int    // how many these are
	ack     bool
	nanos   bool
	partial [2]int // by stream: how many entries of a line were sent that has not ended
	lineIDs [2]string
	buf     []byte
}

// ownMembers are those that each record has of its own, or may have.
var ownMembers = [...]string{"source", "log", "partial_message", "partial_id", "partial_ordinal", "partial_last"}

func newFluent(opts map[string]string, c Container) (Sender, error) {
	f := &fluent{tag: c.Tag}
	f.ack, _ = strconv.ParseBool(opts["fluentd-request-ack"])
	f.nanos, _ = strconv.ParseBool(opts["fluentd-sub-second-precision"])
	text := opts["fluentd-address"]
	if text == "" {
		text = "127.0.0.1"
	}
	if !strings.Contains(text, "://") {
		text = "tcp://" + text
	}
	network, where, err := address("fluentd-address", text, 24224, "tcp", "unix", "tls")
	if err != nil {
		return nil, err
	}
	f.dial = plainDial(network, where)
	if network == "tls" {
		f.dial = func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", where)
		}
	}
	fixed := maps.Clone(c.Extra)
	if fixed == nil {
		fixed = map[string]string{}
	}
	for _, name := range ownMembers { // an image's label does not pass for them
		delete(fixed, name)
	}
	fixed["container_id"], fixed["container_name"] = c.ID, "/"+c.Name
	for _, k := range slices.Sorted(maps.Keys(fixed)) {
		f.fixed = appendText(appendText(f.fixed, k), fixed[k])
	}
	f.members = len(fixed)
	return f, nil
}

// Send sends one batch in forward mode: [tag, [[time, record], ...], option].
func (f *fluent) Send(ctx context.Context, batch []Message) (int, error) {
	partial, ids := f.partial, f.lineIDs
	b := appendArray(f.buf[:0], 3)
	b = appendText(b, f.tag)
	b = appendArray(b, len(batch))
	for _, m := range batch {
		b = appendArray(b, 2)
		b = f.appendTime(b, m.Time)
		b = f.appendRecord(b, m, &partial, &ids)
	}
	chunk := ""
	if f.ack {
		var id [16]byte
		_, _ = rand.Read(id[:])
		chunk = base64.StdEncoding.EncodeToString(id[:])
		b = appendMap(b, 2)
		b = appendText(appendText(b, "chunk"), chunk)
	} else {
		b = appendMap(b, 1)
	}
	b = appendUint(appendText(b, "size"), len(batch))
	f.buf = b
	if err := f.write(ctx, b); err != nil {
		return 0, err
	}
	if f.ack {
		if err := f.awaitAck(ctx, chunk); err != nil {
			f.Close()
			return 0, err
		}
	}
	f.partial, f.lineIDs = partial, ids
	return len(batch), nil
}

func (f *fluent) appendTime(b []byte, t time.Time) []byte {
	if !f.nanos {
		return appendUint(b, int(t.Unix()))
	}
	b = append(b, 0xd7, 0) // EventTime: an extension of type 0, eight bytes
	b = binary.BigEndian.AppendUint32(b, uint32(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func (f *fluent) appendRecord(b []byte, m Message, partial *[2]int, ids *[2]string) []byte {
	stream, source := 0, "stdout"
	if m.Stderr {
		stream, source = 1, "stderr"
	}
	inside := m.Partial || partial[stream] > 0
	n := f.members + 2
	if inside {
		n += 4
	}
	b = append(appendMap(b, n), f.fixed...)
	b = appendText(appendText(b, "source"), source)
	b = appendText(appendText(b, "log"), string(m.Text))
	if !inside {
		return b
	}
	if partial[stream]++; partial[stream] == 1 {
		ids[stream] = fmt.Sprintf("%x", m.Time.UnixNano())
	}
	b = appendText(appendText(b, "partial_message"), "true")
	b = appendText(appendText(b, "partial_id"), ids[stream])
	b = appendText(appendText(b, "partial_ordinal"), strconv.Itoa(partial[stream]))
	b = appendText(appendText(b, "partial_last"), strconv.FormatBool(!m.Partial))
	if !m.Partial {
		partial[stream] = 0
	}
	return b
}

// awaitAck reads {"ack": chunk}.
func (f *fluent) awaitAck(ctx context.Context, chunk string) error {
	want := appendText(appendText(appendMap(nil, 1), "ack"), chunk)
	conn := f.conn
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("fluentd does not acknowledge: %w", err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("fluentd acknowledges something else")
	}
	return nil
}

// What follows writes MessagePack.

func appendArray(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x90|byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}

func appendMap(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x80|byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
}

func appendUint(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xcf), uint64(n))
}

func appendText(b []byte, s string) []byte {
	switch {
	case len(s) < 32:
		b = append(b, 0xa0|byte(len(s)))
	case len(s) < 256:
		b = append(b, 0xd9, byte(len(s)))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(s)))
	}
	return append(b, s...)
}
