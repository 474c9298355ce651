package send

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
)

var gelfOptions = map[string]check{
	"gelf-address": anything, "gelf-compression-type": anything, "gelf-compression-level": number(-1, 9),
	"gelf-tcp-max-reconnect": number(0, 1<<30), "gelf-tcp-reconnect-delay": number(0, 1<<30),
}

// The bounds of GELF's chunks: of one, with its head, and of their number.
const (
	chunkSize = 1420
	chunkHead = 12
	maxChunks = 128
	// maxFixed leaves room for a piece of the line, compressed or not.
	maxFixed = maxChunks * (chunkSize - chunkHead) / 2
)

// gelf sends GELF 1.1: compressed datagrams, in chunks where they are long, or null-terminated messages over TCP.
type gelf struct {
	wire
	fixed  []byte // the members that are the same in all messages, without braces
	stream bool
	kind   string // of compression
	level  int
	buf    bytes.Buffer
	packed bytes.Buffer
}

func newGELF(opts map[string]string, c Container) (Sender, error) {
	text := opts["gelf-address"]
	if text == "" {
		return nil, errors.New("gelf-address is a required parameter")
	}
	network, where, err := address("gelf-address", text, 12201, "udp", "tcp")
	if err != nil {
		return nil, err
	}
	g := &gelf{stream: network == "tcp", kind: opts["gelf-compression-type"], level: 1}
	g.dial = plainDial(network, where)
	for name := range opts {
		if g.stream && strings.HasPrefix(name, "gelf-compression-") {
			return nil, errors.New("compression is only supported on UDP")
		}
		if !g.stream && strings.HasPrefix(name, "gelf-tcp-") {
			return nil, fmt.Errorf("%s is only valid for TCP", name)
		}
	}
	switch g.kind {
	case "", "gzip", "zlib", "none":
	default:
		return nil, fmt.Errorf("unknown compression type: %q", g.kind)
	}
	if level := opts["gelf-compression-level"]; level != "" {
		if g.level, err = strconv.Atoi(level); err != nil {
			return nil, err
		}
	}
	members := map[string]any{}
	for k, v := range c.Extra {
		if !strings.HasPrefix(k, "_") {
			k = "_" + k
		}
		members[k] = v
	}
	// After what an image may have named: nobody's label passes for these.
	maps.Copy(members, map[string]any{"version": "1.1", "host": hostname(), "_container_id": c.ID, "_container_name": c.Name, "_image_id": c.ImageID,
		"_image_name": c.ImageName, "_command": c.Command, "_tag": c.Tag, "_created": c.Created})
	fixed, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	g.fixed = fixed[1 : len(fixed)-1]
	if !g.stream && len(g.fixed) > maxFixed {
		return nil, fmt.Errorf("the command, labels and variables that go with every message take %d bytes: a GELF message over UDP has room for %d; "+
			"choose fewer, or send over TCP", len(g.fixed), maxFixed)
	}
	return g, nil
}

func (g *gelf) Send(ctx context.Context, batch []Message) (int, error) {
	for i, m := range batch {
		if len(m.Text) == 0 { // the receiver refuses an empty message
			continue
		}
		if err := g.one(ctx, m); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

func (g *gelf) one(ctx context.Context, m Message) error {
	level := severityInfo
	if m.Stderr {
		level = severityError
	}
	text, err := json.Marshal(string(m.Text))
	if err != nil {
		return err
	}
	g.buf.Reset()
	fmt.Fprintf(&g.buf, `{%s,"short_message":%s,"timestamp":%d.%03d,"level":%d}`, g.fixed, text, m.Time.Unix(), m.Time.Nanosecond()/1e6, level)
	if g.stream {
		g.buf.WriteByte(0)
		return g.write(ctx, g.buf.Bytes())
	}
	b, err := g.compress()
	if err != nil {
		return err
	}
	if len(b) <= chunkSize {
		return g.write(ctx, b)
	}
	return g.chunks(ctx, b, m)
}

func (g *gelf) compress() ([]byte, error) {
	if g.kind == "none" {
		return g.buf.Bytes(), nil
	}
	g.packed.Reset()
	var w io.WriteCloser
	var err error
	if g.kind == "zlib" {
		w, err = zlib.NewWriterLevel(&g.packed, g.level)
	} else {
		w, err = gzip.NewWriterLevel(&g.packed, g.level)
	}
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(g.buf.Bytes()); err == nil {
		err = w.Close()
	}
	return g.packed.Bytes(), err
}

// chunks sends one message in several datagrams. A line too long for so many is cut.
func (g *gelf) chunks(ctx context.Context, b []byte, m Message) error {
	const each = chunkSize - chunkHead
	count := (len(b) + each - 1) / each
	if count > maxChunks {
		m.Text = m.Text[:len(m.Text)/2]
		return g.one(ctx, m)
	}
	head := make([]byte, chunkHead, chunkSize)
	head[0], head[1], head[11] = 0x1e, 0x0f, byte(count)
	_, _ = rand.Read(head[2:10])
	for i := range count {
		head[10] = byte(i)
		part := b[i*each : min((i+1)*each, len(b))]
		if err := g.write(ctx, append(head, part...)); err != nil {
			return err
		}
	}
	return nil
}
