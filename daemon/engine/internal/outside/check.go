package outside

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"pier/api/docker"
	"pier/lib/errkind"
)

// maxText bounds a path and a service's name: the text is sent, and said, with each probe.
const maxText = 2048

// Check is a health check as Parse read it. It does not change.
type Check struct {
	kind   string     // docker.ProbeHTTP and its like
	secure bool       // HTTP over TLS
	host   netip.Addr // whom to ask; the zero Addr for loopback
	port   uint16
	name   string // HTTP: the header Host
	what   string // path of HTTP and FILE, service of GRPC
	asked  string // begins each answer's Output
	say    []byte // what is sent as soon as a connection is there; nil for nothing
}

// Parse reads Test of a health check. Both results are nil for one that is not this package's: no word, or another first one.
// Errors are Invalid.
func Parse(test []string) (*Check, error) {
	if !docker.IsProbe(test) {
		return nil, nil
	}
	c := &Check{kind: test[0]}
	form, most := "", 2
	switch c.kind {
	case docker.ProbeHTTP:
		form = `["HTTP", "http://:8080/healthz"]`
	case docker.ProbeTCP:
		form = `["TCP", ":5432"]`
	case docker.ProbeGRPC:
		form, most = `["GRPC", ":50051"] or ["GRPC", ":50051", "service"]`, 3
	case docker.ProbeFile:
		form = `["FILE", "/run/ready"]`
	}
	why := ""
	switch {
	case len(test) < 2:
		why = "nothing to ask for"
	case len(test) > most:
		why = "too many words"
	case c.kind == docker.ProbeHTTP:
		why = c.http(test[1])
	case c.kind == docker.ProbeTCP:
		why, c.asked = c.address(test[1], 0), "TCP "+test[1]
	case c.kind == docker.ProbeGRPC:
		why, c.asked = c.address(test[1], 0), "GRPC "+strings.Join(test[1:], " ")
		if len(test) == 3 && why == "" {
			c.what, why = test[2], text("service", test[2], "")
		}
	case c.kind == docker.ProbeFile:
		c.what, c.asked, why = test[1], "FILE "+test[1], fileName(test[1])
	}
	if why != "" {
		return nil, errkind.New(errkind.Invalid, "invalid health check %q: %s: write %s", test, why, form)
	}
	return c, nil
}

// Elsewhere reports whether the check names an address that is not loopback's. An image's must not: it does not know those
// that its containers will have.
func (c *Check) Elsewhere() bool { return c.host.IsValid() && !c.host.IsLoopback() }

// http reads a URL, which may be without scheme. It returns what is wrong, "" for nothing; so do the others.
func (c *Check) http(url string) (why string) {
	c.asked = "GET " + url
	rest, plain := strings.CutPrefix(url, "http://")
	usual := uint16(0)
	switch {
	case plain:
		usual = 80
	default:
		if rest, c.secure = strings.CutPrefix(url, "https://"); c.secure {
			usual = 443
		}
	}
	at, slash, found := strings.Cut(rest, "/")
	if c.what = "/"; found {
		c.what += slash
	}
	switch {
	case strings.Contains(at, "@"):
		return "a user's name is not sent"
	case strings.ContainsAny(at, "?#"):
		return "the path begins with a slash"
	}
	if why = text("path", c.what, "#"); why != "" {
		return why
	}
	if why = c.address(at, usual); why != "" {
		return why
	}
	c.name = "localhost"
	if c.host.IsValid() {
		c.name = c.host.String()
	}
	if c.name = net.JoinHostPort(c.name, strconv.Itoa(int(c.port))); c.port == usual {
		c.name = strings.TrimSuffix(c.name, ":"+strconv.Itoa(int(usual)))
	}
	if !c.secure {
		c.say = c.request()
	}
	return ""
}

// address reads [host]:port; usual is the port where none is named, 0 for none.
func (c *Check) address(at string, usual uint16) (why string) {
	host, port, err := net.SplitHostPort(at)
	switch {
	case err == nil:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "a port is a number from 1 to 65535"
		}
		c.port = uint16(n)
	case usual == 0 || at == "" || strings.Count(at, ":") > 0 && !strings.HasSuffix(at, "]"):
		return "an address is a port after a colon"
	default:
		host, c.port = strings.TrimSuffix(strings.TrimPrefix(at, "["), "]"), usual
	}
	if host == "" || host == "localhost" {
		return ""
	}
	if c.host, err = netip.ParseAddr(host); err != nil || c.host.Zone() != "" || c.host.Is4In6() || c.host.IsUnspecified() || c.host.IsMulticast() {
		return "only the container itself is asked: leave the host out, or name an address that it has"
	}
	return ""
}

// fileName checks the name of a file.
func fileName(name string) (why string) {
	switch {
	case !path.IsAbs(name):
		return "a path begins with a slash"
	case len(name) > maxText:
		return "the path is too long"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "the path has control characters"
	}
	return ""
}

// text checks what is sent as it is: no spaces, control characters or letters beyond ASCII, and none of without.
func text(what, s, without string) (why string) {
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(without, b) >= 0 {
			return "the " + what + " has a space, or a character that is not ASCII's or not to be sent"
		}
	}
	if len(s) > maxText {
		return "the " + what + " is too long"
	}
	return ""
}
