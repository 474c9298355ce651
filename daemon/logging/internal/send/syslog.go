package send

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

var syslogOptions = map[string]check{
	"syslog-address": anything, "syslog-facility": anything, "syslog-format": anything,
	"syslog-tls-ca-cert": anything, "syslog-tls-cert": anything, "syslog-tls-key": anything, "syslog-tls-skip-verify": boolean,
}

// facilities by name (RFC 5424, 6.2.1).
var facilities = map[string]int{"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
	"uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11, "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20,
	"local5": 21, "local6": 22, "local7": 23}

const (
	severityError = 3
	severityInfo  = 6
)

// syslogger sends as RFC 3164 and RFC 5424 say, in the shapes of Docker's driver.
type syslogger struct {
	wire
	facility int
	format   string
	counted  bool // each message is preceded by its length (RFC 5425)
	datagram bool
	host     string
	tag      string
	pid      int
	buf      []byte
}

func newSyslog(opts map[string]string, c Container) (Sender, error) {
	s := &syslogger{facility: facilities["daemon"], format: opts["syslog-format"], host: hostname(), tag: oneLine(c.Tag), pid: os.Getpid()}
	if f := opts["syslog-facility"]; f != "" {
		n, ok := facilities[f]
		if number, err := strconv.Atoi(f); err == nil && number >= 0 && number <= 23 {
			n, ok = number, true
		}
		if !ok {
			return nil, errors.New("invalid syslog facility")
		}
		s.facility = n
	}
	switch s.format {
	case "", "rfc3164", "rfc5424", "rfc5424micro":
	default:
		return nil, errors.New("Invalid syslog format")
	}
	text := opts["syslog-address"]
	if text == "" {
		s.dial, s.datagram = localSyslog, true
		return s, nil
	}
	network, where, err := address("syslog-address", text, 514, "unix", "unixgram", "udp", "tcp", "tcp+tls")
	if err != nil {
		return nil, err
	}
	s.datagram = network == "udp" || network == "unixgram"
	if network != "tcp+tls" {
		s.dial = plainDial(network, where)
		return s, nil
	}
	s.counted = s.format != "" && s.format != "rfc3164"
	config, err := syslogTLS(opts)
	if err != nil {
		return nil, err
	}
	s.dial = func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", where)
	}
	return s, nil
}

// oneLine keeps what a tag takes from an image (its command, say) from beginning a message of its own.
func oneLine(tag string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, tag)
}

// localSyslog connects to the machine's own log.
func localSyslog(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		for _, network := range []string{"unixgram", "unix"} {
			if conn, err := d.DialContext(ctx, network, path); err == nil {
				return conn, nil
			}
		}
	}
	return nil, errors.New("nobody listens on /dev/log, /var/run/syslog or /var/run/log")
}

func syslogTLS(opts map[string]string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	c.InsecureSkipVerify, _ = strconv.ParseBool(opts["syslog-tls-skip-verify"])
	if path := opts["syslog-tls-ca-cert"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("syslog-tls-ca-cert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("syslog-tls-ca-cert: %s holds no certificate", path)
		}
	}
	cert, key := opts["syslog-tls-cert"], opts["syslog-tls-key"]
	if cert == "" && key == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("syslog-tls-cert and syslog-tls-key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// maxDatagram is how much of a line fits in one datagram of IPv4 with its header.
const maxDatagram = 60 << 10

func (s *syslogger) Send(ctx context.Context, batch []Message) (int, error) {
	for i, m := range batch {
		text := m.Text
		if s.datagram {
			text = text[:min(len(text), maxDatagram)]
		}
		// A newline ends a message on a stream; there is none in it.
		s.buf = s.append(s.buf[:0], text, m)
		if s.counted {
			s.buf = append(strconv.AppendInt(nil, int64(len(s.buf)), 10), append([]byte{' '}, s.buf...)...)
		}
		if err := s.write(ctx, s.buf); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

func (s *syslogger) append(b, text []byte, m Message) []byte {
	severity := severityInfo
	if m.Stderr {
		severity = severityError
	}
	text = bytes.TrimRight(text, "\r\n")
	b = fmt.Appendf(b, "<%d>", s.facility*8+severity)
	switch s.format {
	case "":
		b = fmt.Appendf(b, "%s %s[%d]: %s\n", m.Time.Local().Format(time.Stamp), s.tag, s.pid, text)
	case "rfc3164":
		b = fmt.Appendf(b, "%s %s %s[%d]: %s\n", m.Time.Local().Format(time.Stamp), s.host, s.tag, s.pid, text)
	default:
		form := time.RFC3339
		if s.format == "rfc5424micro" {
			form = "2006-01-02T15:04:05.000000Z07:00"
		}
		b = fmt.Appendf(b, "1 %s %s %s %d %s - %s\n", m.Time.Local().Format(form), s.host, s.tag, s.pid, s.tag, text)
	}
	return b
}
