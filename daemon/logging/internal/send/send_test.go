package send

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	at        = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
	container = Container{ID: "0123456789abcdef", Name: "web", ImageName: "nginx:1", ImageID: "sha256:1", Command: "nginx -g", Created: at, Tag: "0123456789ab",
		Extra: map[string]string{"com.example.app": "shop"}}
)

func message(text string) Message { return Message{Text: []byte(text), Time: at} }

func make1(t *testing.T, driver string, opts map[string]string) Sender {
	t.Helper()
	s, err := New(driver, opts, container)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func mustSend(t *testing.T, s Sender, batch ...Message) {
	t.Helper()
	if n, err := s.Send(context.Background(), batch); err != nil || n != len(batch) {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

// packets is a receiver of datagrams.
func packets(t *testing.T, network, address string) (where string, next func() []byte) {
	t.Helper()
	p, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.LocalAddr().String(), func() []byte {
		buf := make([]byte, 256<<10)
		_ = p.SetReadDeadline(time.Now().Add(2 * time.Minute))
		n, _, err := p.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		return buf[:n]
	}
}

// streamed is a receiver of one connection.
func streamed(t *testing.T, network, address string) (where string, accept func() net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func TestSyslog(t *testing.T) {
	host := regexp.QuoteMeta(hostname())
	stamp := at.Local().Format(time.Stamp)
	for format, want := range map[string]string{
		"":             `^<30>` + stamp + ` 0123456789ab\[\d+\]: hello\n$`,
		"rfc3164":      `^<30>` + stamp + ` ` + host + ` 0123456789ab\[\d+\]: hello\n$`,
		"rfc5424":      `^<30>1 ` + regexp.QuoteMeta(at.Local().Format(time.RFC3339)) + ` ` + host + ` 0123456789ab \d+ 0123456789ab - hello\n$`,
		"rfc5424micro": `^<30>1 2026-03-0\dT[0-9:]+\.123456\S+ ` + host + ` 0123456789ab \d+ 0123456789ab - hello\n$`,
	} {
		where, next := packets(t, "udp", "127.0.0.1:0")
		mustSend(t, make1(t, "syslog", map[string]string{"syslog-address": "udp://" + where, "syslog-format": format}), message("hello\r"))
		if got := next(); !regexp.MustCompile(want).Match(got) {
			t.Errorf("%q: %q, want %s", format, got, want)
		}
	}
	path := filepath.Join(t.TempDir(), "log")
	_, next := packets(t, "unixgram", path)
	s := make1(t, "syslog", map[string]string{"syslog-address": "unixgram://" + path, "syslog-facility": "local3"})
	mustSend(t, s, Message{Text: []byte("bad"), Stderr: true, Time: at}, message(strings.Repeat("x", 1<<20)))
	if got := next(); !bytes.HasPrefix(got, []byte("<155>")) || !bytes.HasSuffix(got, []byte(": bad\n")) {
		t.Errorf("unixgram: %q", got)
	}
	if got := next(); len(got) < maxDatagram || len(got) > maxDatagram+200 {
		t.Errorf("a long line: %d bytes", len(got))
	}
	where, accept := streamed(t, "tcp", "127.0.0.1:0")
	s = make1(t, "syslog", map[string]string{"syslog-address": "tcp://" + where})
	mustSend(t, s, message("one"), message("two"))
	r := bufio.NewReader(accept())
	for _, want := range []string{": one\n", ": two\n"} {
		if line, err := r.ReadString('\n'); err != nil || !strings.HasSuffix(line, want) {
			t.Errorf("tcp: %q, %v", line, err)
		}
	}
}

// TestReconnect goes on after the receiver was away.
func TestReconnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := make1(t, "syslog", map[string]string{"syslog-address": "unix://" + path})
	if n, err := s.Send(context.Background(), []Message{message("early")}); err == nil || n != 0 {
		t.Fatalf("sent %d to nobody: %v", n, err)
	}
	for range 2 {
		_ = os.Remove(path)
		_, accept := streamed(t, "unix", path)
		sent := make(chan error, 1)
		go func() {
			for { // the first write on a connection that was closed fails
				if _, err := s.Send(context.Background(), []Message{message("again")}); err == nil {
					sent <- nil
					return
				}
			}
		}()
		c := accept()
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasSuffix(line, ": again\n") {
			t.Errorf("%q, %v", line, err)
		}
		c.Close()
	}
}

func TestGELF(t *testing.T) {
	where, next := packets(t, "udp", "127.0.0.1:0")
	unpack := map[string]func([]byte) (io.Reader, error){
		"":     func(b []byte) (io.Reader, error) { return gzip.NewReader(bytes.NewReader(b)) },
		"zlib": func(b []byte) (io.Reader, error) { return zlib.NewReader(bytes.NewReader(b)) },
		"none": func(b []byte) (io.Reader, error) { return bytes.NewReader(b), nil },
	}
	check := func(text io.Reader, want string) {
		t.Helper()
		var m map[string]any
		if err := json.NewDecoder(text).Decode(&m); err != nil {
			t.Fatal(err)
		}
		if m["version"] != "1.1" || m["short_message"] != want || m["level"] != 6.0 || m["timestamp"] != float64(at.UnixMilli())/1000 ||
			m["_container_id"] != container.ID || m["_container_name"] != "web" || m["_image_name"] != "nginx:1" || m["_tag"] != container.Tag || m["_com.example.app"] != "shop" {
			t.Errorf("%.300v", m)
		}
	}
	for kind, open := range unpack {
		s := make1(t, "gelf", map[string]string{"gelf-address": "udp://" + where, "gelf-compression-type": kind})
		mustSend(t, s, message(""), message(`say "hi"`))
		r, err := open(next())
		if err != nil {
			t.Fatal(err)
		}
		check(r, `say "hi"`)
		long := strings.Repeat("a line that is long ", 1000)
		if kind != "none" {
			var b strings.Builder // does not shrink to one datagram
			for i := range 4000 {
				fmt.Fprintf(&b, "%d ", i*i*7919)
			}
			long = b.String()
		}
		mustSend(t, s, message(long))
		var whole []byte
		for i, n := 0, 1; i < n; i++ {
			p := next()
			if p[0] != 0x1e || p[1] != 0x0f || int(p[10]) != i || len(p) > chunkSize {
				t.Fatalf("chunk %d: % x", i, p[:chunkHead])
			}
			n = int(p[11])
			whole = append(whole, p[chunkHead:]...)
		}
		if r, err = open(whole); err != nil {
			t.Fatal(err)
		}
		check(r, long)
	}
	address, accept := streamed(t, "tcp", "127.0.0.1:0")
	s := make1(t, "gelf", map[string]string{"gelf-address": "tcp://" + address})
	mustSend(t, s, message("one"), message("two"))
	r := bufio.NewReader(accept())
	for _, want := range []string{"one", "two"} {
		text, err := r.ReadBytes(0)
		if err != nil {
			t.Fatal(err)
		}
		check(bytes.NewReader(text[:len(text)-1]), want)
	}
}

// What goes with every message must leave room for a line: no line can be cut so far that it would fit.
func TestGELFWithoutRoom(t *testing.T) {
	c := container
	c.Command = strings.Repeat("x", 200<<10)
	opts := map[string]string{"gelf-address": "udp://127.0.0.1:1", "gelf-compression-type": "none"}
	if s, err := New("gelf", opts, c); err == nil {
		s.Close()
		t.Error("a command of 200 KiB goes with every message")
	}
	where, next := packets(t, "udp", "127.0.0.1:0")
	opts["gelf-address"], c.Command = "udp://"+where, strings.Repeat("x", maxFixed-1<<10)
	s, err := New("gelf", opts, c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustSend(t, s, message(strings.Repeat("y", 1<<20)))
	if p := next(); p[0] != 0x1e || p[11] > maxChunks {
		t.Errorf("% x", p[:chunkHead])
	}
}

// unpackMsg decodes as much of MessagePack as the forward protocol has.
func unpackMsg(r *bufio.Reader) any {
	b, err := r.ReadByte()
	if err != nil {
		panic(err)
	}
	number := func(n int) (v int) {
		for range n {
			c, _ := r.ReadByte()
			v = v<<8 | int(c)
		}
		return v
	}
	text := func(n int) string {
		s := make([]byte, n)
		_, _ = io.ReadFull(r, s)
		return string(s)
	}
	list := func(n int) (l []any) {
		for range n {
			l = append(l, unpackMsg(r))
		}
		return l
	}
	table := func(n int) map[string]any {
		m := map[string]any{}
		for range n {
			k := unpackMsg(r).(string)
			m[k] = unpackMsg(r)
		}
		return m
	}
	switch {
	case b < 0x80:
		return int(b)
	case b < 0x90:
		return table(int(b & 15))
	case b < 0xa0:
		return list(int(b & 15))
	case b < 0xc0:
		return text(int(b & 31))
	}
	switch b {
	case 0xcf:
		return number(8)
	case 0xd7:
		number(1)
		return time.Unix(int64(number(4)), int64(number(4))).UTC()
	case 0xd9:
		return text(number(1))
	case 0xdb:
		return text(number(4))
	case 0xdd:
		return list(number(4))
	case 0xdf:
		return table(number(4))
	}
	panic(fmt.Sprintf("byte %#x", b))
}

func TestFluentd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	_, accept := streamed(t, "unix", path)
	s := make1(t, "fluentd", map[string]string{"fluentd-address": "unix://" + path, "fluentd-sub-second-precision": "true", "fluentd-request-ack": "true"})
	got := make(chan []any, 3)
	go func() {
		c := accept()
		r := bufio.NewReader(c)
		for range 2 {
			m := unpackMsg(r).([]any)
			got <- m
			chunk := m[2].(map[string]any)["chunk"].(string)
			_, _ = c.Write(appendText(appendText(appendMap(nil, 1), "ack"), chunk))
		}
		got <- unpackMsg(r).([]any)
		_, _ = c.Write([]byte("\x81\xa3ack\xb8abcdefghijklmnopqrstuvwx")) // of something else
	}()
	piece := message("long")
	piece.Partial = true
	var batch []Message
	for range 20 {
		batch = append(batch, message(strings.Repeat("y", 300)))
	}
	batch = append(batch, piece)
	mustSend(t, s, batch...)
	m := <-got
	if m[0] != container.Tag || len(m[1].([]any)) != 21 || m[2].(map[string]any)["size"] != 21 {
		t.Errorf("%v", m)
	}
	entry := m[1].([]any)[0].([]any)
	record := entry[1].(map[string]any)
	if !entry[0].(time.Time).Equal(at) || record["log"] != strings.Repeat("y", 300) || record["source"] != "stdout" || record["container_id"] != container.ID ||
		record["container_name"] != "/web" || record["com.example.app"] != "shop" || len(record) != 5 {
		t.Errorf("%v", entry)
	}
	mustSend(t, s, message(" line"), Message{Text: []byte("other"), Stderr: true, Time: at})
	m = <-got
	first, rest := entryOf(m, 0), batchLast(m)
	if first["partial_message"] != "true" || first["partial_ordinal"] != "2" || first["partial_last"] != "true" || rest["source"] != "stderr" || rest["partial_id"] != nil {
		t.Errorf("%v and %v", first, rest)
	}
	if n, err := s.Send(context.Background(), []Message{message("x")}); err == nil || n != 0 {
		t.Errorf("a wrong acknowledgement: %d, %v", n, err)
	}
}

func entryOf(m []any, i int) map[string]any {
	return m[1].([]any)[i].([]any)[1].(map[string]any)
}

func batchLast(m []any) map[string]any { return entryOf(m, len(m[1].([]any))-1) }

// fields decodes an entry of the journal's native protocol.
func fields(t *testing.T, b []byte) map[string]string {
	t.Helper()
	m := map[string]string{}
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte{'\n'})
		if !ok {
			t.Fatalf("no newline in %.100q", b)
		}
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			m[string(name)] = string(value)
			b = rest
			continue
		}
		n := binary.LittleEndian.Uint64(rest)
		m[string(line)] = string(rest[8 : 8+n])
		b = rest[8+n+1:]
	}
	return m
}

func TestJournald(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	_, next := packets(t, "unixgram", path)
	s := newJournald(path, container)
	defer s.Close()
	mustSend(t, s, message("two\nlines"), Message{Text: []byte(strings.Repeat("z", maxField) + "end"), Stderr: true, Time: at})
	m := fields(t, next())
	for k, want := range map[string]string{"MESSAGE": "two\nlines", "PRIORITY": "6", "CONTAINER_ID": "0123456789ab", "CONTAINER_ID_FULL": container.ID, "CONTAINER_NAME": "web",
		"CONTAINER_TAG": container.Tag, "SYSLOG_IDENTIFIER": container.Tag, "IMAGE_NAME": "nginx:1", "COM_EXAMPLE_APP": "shop", "SYSLOG_TIMESTAMP": "2026-03-04T05:06:07.123456789Z"} {
		if m[k] != want {
			t.Errorf("%s is %q, want %q", k, m[k], want)
		}
	}
	first, second := fields(t, next()), fields(t, next())
	if first["PRIORITY"] != "3" || first["CONTAINER_PARTIAL_MESSAGE"] != "true" || first["CONTAINER_PARTIAL_ORDINAL"] != "1" || len(first["MESSAGE"]) != maxField ||
		second["MESSAGE"] != "end" || second["CONTAINER_PARTIAL_LAST"] != "true" || second["CONTAINER_PARTIAL_ID"] != first["CONTAINER_PARTIAL_ID"] {
		t.Errorf("a long line: %v then %v", first["CONTAINER_PARTIAL_ID"], second)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		driver, opts, want string
	}{
		{"syslog", "syslog-address=udp://h", ""},
		{"syslog", "syslog-address=h:514", "syslog-address"},
		{"syslog", "syslog-address=http://h:514", "want one of unix://"},
		{"syslog", "syslog-address=unix://relative", "want unix:///path"},
		{"syslog", "syslog-facility=odd", "invalid syslog facility"},
		{"syslog", "syslog-facility=23", ""},
		{"syslog", "syslog-format=xml", "Invalid syslog format"},
		{"syslog", "syslog-address=tcp+tls://h syslog-tls-ca-cert=/nonexistent", "syslog-tls-ca-cert"},
		{"gelf", "", "gelf-address is a required parameter"},
		{"gelf", "gelf-address=tcp://h gelf-compression-type=gzip", "only supported on UDP"},
		{"gelf", "gelf-address=udp://h gelf-tcp-max-reconnect=1", "only valid for TCP"},
		{"gelf", "gelf-address=udp://h gelf-compression-type=lz4", "unknown compression type"},
		{"fluentd", "", ""},
		{"fluentd", "fluentd-address=host:1", ""},
		{"fluentd", "fluentd-address=udp://host:1", "want one of tcp://"},
		{"journald", "", ""},
	} {
		opts := map[string]string{}
		for o := range strings.FieldsSeq(tt.opts) {
			k, v, _ := strings.Cut(o, "=")
			opts[k] = v
		}
		err := Check(tt.driver, opts)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %s: %v, want %q", tt.driver, tt.opts, err, tt.want)
		}
	}
}

// TestForgedNames sends what an image's labels are called as the fields that say where a message comes from.
func TestForgedNames(t *testing.T) {
	forged := container
	forged.Extra = map[string]string{"container_id": "forged", "_container_name": "forged", "log": "forged", "source": "forged", "container.name": "forged", "message": "forged",
		"priority": "forged", "container_partial_last": "forged"}
	where, next := packets(t, "udp", "127.0.0.1:0")
	g, err := newGELF(map[string]string{"gelf-address": "udp://" + where, "gelf-compression-type": "none"}, forged)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	mustSend(t, g, message("x"))
	var members map[string]any
	if err := json.Unmarshal(next(), &members); err != nil || members["_container_id"] != container.ID || members["_container_name"] != "web" {
		t.Errorf("gelf: %v, %v", members, err)
	}
	path := filepath.Join(t.TempDir(), "j")
	_, next = packets(t, "unixgram", path)
	j := newJournald(path, forged)
	defer j.Close()
	mustSend(t, j, message("x"))
	if entry := next(); bytes.Contains(entry, []byte("CONTAINER_ID=forged")) || bytes.Contains(entry, []byte("CONTAINER_NAME=forged")) ||
		bytes.Contains(entry, []byte("MESSAGE=forged")) || bytes.Contains(entry, []byte("PRIORITY=forged")) || bytes.Contains(entry, []byte("PARTIAL_LAST=forged")) {
		t.Errorf("journald: %q", entry)
	}
	f, err := newFluent(map[string]string{}, forged)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	f.(*fluent).dial = func(context.Context) (net.Conn, error) { return ours, nil }
	defer f.Close()
	go func() { _, _ = f.Send(context.Background(), []Message{message("x")}) }()
	if tag := oneLine("sh -c 'a\n<0>b\x00'"); tag != "sh -c 'a_<0>b_'" {
		t.Errorf("syslog: tag %q", tag)
	}
	record := entryOf(unpackMsg(bufio.NewReader(theirs)).([]any), 0)
	if record["container_id"] != container.ID || record["log"] != "x" || record["source"] != "stdout" {
		t.Errorf("fluentd: %v", record)
	}
}
