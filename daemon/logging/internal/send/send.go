// Package send speaks the protocols of the remote log drivers: syslog, journald, fluentd and GELF. It keeps no queue and
// tries nothing twice; who calls it does.
//
// The client libraries that there are for these protocols bring queues and retries of their own, in memory: what is in
// them is lost with the process, and nobody can tell what was delivered. The protocols themselves are small.
//
// Start reading at Sender.
package send

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Message is one line of output, or a piece of one.
type Message struct {
	Text    []byte // without its newline
	Stderr  bool
	Partial bool // its line has no end here
	Time    time.Time
}

// Container is what receivers are told about where messages come from.
type Container struct {
	ID        string
	Name      string // without slash
	ImageID   string
	ImageName string
	Command   string
	Created   time.Time
	Tag       string
	Extra     map[string]string // labels and variables that were asked for
}

// Sender delivers the messages of one container. It belongs to one goroutine.
type Sender interface {
	// Send delivers messages in order and returns how many were: to the receiver where the protocol confirms, to the kernel
	// otherwise. After an error the rest may be sent again; the sender connects anew.
	Send(ctx context.Context, batch []Message) (n int, err error)
	// Close ends the connection.
	Close()
}

// check judges the value of an option.
type check = func(value string) error

// Options returns the options of a driver and checks of their values; false: it is not one of this package.
func Options(driver string) (map[string]func(value string) error, bool) {
	o, ok := drivers[driver]
	return maps.Clone(o), ok
}

var drivers = map[string]map[string]check{
	"syslog":   syslogOptions,
	"journald": {},
	"fluentd":  fluentOptions,
	"gelf":     gelfOptions,
}

// Check judges a driver's options together.
func Check(driver string, opts map[string]string) error {
	s, err := New(driver, opts, Container{})
	if err == nil {
		s.Close()
	}
	return err
}

// New makes the sender of one container. It does not connect yet. Errors are the options' fault.
func New(driver string, opts map[string]string, c Container) (Sender, error) {
	switch driver {
	case "syslog":
		return newSyslog(opts, c)
	case "journald":
		return newJournald(journalSocket, c), nil
	case "fluentd":
		return newFluent(opts, c)
	case "gelf":
		return newGELF(opts, c)
	}
	return nil, fmt.Errorf("log driver %q sends nothing", driver)
}

// patience bounds one connecting or sending.
const patience = 10 * time.Second

// wire is a connection that is made when it is first needed, and anew after an error.
type wire struct {
	dial func(ctx context.Context) (net.Conn, error)
	conn net.Conn
}

func (w *wire) write(ctx context.Context, b []byte) error {
	if w.conn == nil {
		dialing, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		conn, err := w.dial(dialing)
		if err != nil {
			return err
		}
		w.conn = conn
	}
	conn := w.conn
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(b); err != nil {
		w.Close()
		return err
	}
	return nil
}

// Close ends the connection; the next write makes one anew.
func (w *wire) Close() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

func plainDial(network, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

// address splits scheme://host:port, with a port that may be missing, or scheme:///path.
func address(option, text string, port int, networks ...string) (network, where string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", option, err)
	}
	for _, n := range networks {
		switch {
		case u.Scheme != n:
		case n == "unix" || n == "unixgram":
			if u.Path == "" || u.Host != "" {
				return "", "", fmt.Errorf("%s %s: want %s:///path", option, text, n)
			}
			return n, u.Path, nil
		case u.Hostname() == "" || u.Path != "" && u.Path != "/":
			return "", "", fmt.Errorf("%s %s: want %s://host:port", option, text, n)
		default:
			p := u.Port()
			if p == "" {
				p = strconv.Itoa(port)
			}
			return n, net.JoinHostPort(u.Hostname(), p), nil
		}
	}
	return "", "", fmt.Errorf("%s %s: want one of %s", option, text, strings.Join(networks, "://, ")+"://")
}

func anything(string) error { return nil }

func boolean(v string) error {
	_, err := strconv.ParseBool(v)
	return err
}

// number checks a whole number between two bounds.
func number(low, high int) check {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err == nil && (n < low || n > high) {
			err = fmt.Errorf("want %d to %d", low, high)
		}
		return err
	}
}

func duration(v string) error {
	d, err := time.ParseDuration(v)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return err
}

// hostname is the machine's, "-" where it has none.
func hostname() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "-"
}
