package http1

import (
	"io"
	"strconv"
	"strings"

	"pier/lib/errkind"
)

// Request is what is asked. The transport only reads it, but for Stream, which it reads to the end.
type Request struct {
	Method string
	Target string // path and query, escaped
	Host   string
	Header Header
	// Body is sent with its length. A request with it can be sent again on another connection.
	Body []byte
	// Stream, if not nil, is sent instead of Body, in chunks, while the answer is awaited and read.
	Stream io.Reader
}

// Field is one line of a head.
type Field struct{ Name, Value string }

// Header are the lines of a head in their order, but for those that frame the message.
type Header []Field

// Get returns the first value of a name in any case of letters, "" for none.
func (h Header) Get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// contains reports whether a list-valued field names a token ("Connection: close").
func (h Header) contains(name, token string) bool {
	for _, f := range h {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		for item := range strings.SplitSeq(f.Value, ",") {
			if strings.EqualFold(trim(item), token) {
				return true
			}
		}
	}
	return false
}

// head is the head of r, with room for a small body behind it. Nothing in it ends a line but what should: what would is
// an error of kind invalid.
func (r *Request) head() ([]byte, error) {
	switch {
	case !isToken(r.Method):
		return nil, errkind.New(errkind.Invalid, "%q is no HTTP method", r.Method)
	case !strings.HasPrefix(r.Target, "/") || !all(r.Target, isPrint):
		return nil, errkind.New(errkind.Invalid, "%q is no path of a request", r.Target)
	case r.Host == "" || !all(r.Host, isPrint):
		return nil, errkind.New(errkind.Invalid, "%q is no host", r.Host)
	case r.Stream != nil && r.Body != nil:
		return nil, errkind.New(errkind.Internal, "%s %s: a request with two bodies", r.Method, r.Target)
	}
	out := make([]byte, 0, 512+min(len(r.Body), smallBody))
	out = append(append(append(out, r.Method...), ' '), r.Target...)
	out = append(append(append(out, " HTTP/1.1\r\nHost: "...), r.Host...), "\r\nUser-Agent: pier\r\n"...)
	for _, f := range r.Header {
		if !isToken(f.Name) || !all(f.Value, isText) {
			return nil, errkind.New(errkind.Invalid, "%q: %q is no header of a request", f.Name, f.Value)
		}
		out = append(append(append(append(out, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	switch {
	case r.Stream != nil:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case r.Body != nil || r.Method != "GET" && r.Method != "HEAD":
		out = strconv.AppendInt(append(out, "Content-Length: "...), int64(len(r.Body)), 10)
		out = append(out, "\r\n"...)
	}
	return append(out, "\r\n"...), nil
}

// sendChunks writes body in chunks, and their end once it has ended.
func sendChunks(w io.Writer, body io.Reader) error {
	const headRoom = 16 // of a chunk's length in hexadecimal and the ends of lines
	buf := make([]byte, headRoom+32<<10+2)
	for {
		n, err := body.Read(buf[headRoom : len(buf)-2])
		if n > 0 {
			head := append(strconv.AppendInt(nil, int64(n), 16), "\r\n"...)
			start := headRoom - len(head)
			copy(buf[start:], head)
			copy(buf[headRoom+n:], "\r\n")
			if _, err := w.Write(buf[start : headRoom+n+2]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			_, err = io.WriteString(w, "0\r\n\r\n")
			return err
		case err != nil:
			return &BodyError{err}
		}
	}
}

// asks reports whether r changes nothing on the server (RFC 9110, 9.2.1), so that it does not matter how often it comes.
func (r *Request) asks() bool {
	return (r.Method == "GET" || r.Method == "HEAD") && r.Body == nil && r.Stream == nil
}

// BodyError says that Request.Stream could not be read: no fault of the connection.
type BodyError struct{ err error }

func (e *BodyError) Error() string { return e.err.Error() }
func (e *BodyError) Unwrap() error { return e.err }

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && all(s, func(b byte) bool {
		return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
	})
}

// isText is what may stand in the value of a field: no control characters but the tab.
func isText(b byte) bool { return b == '\t' || b >= ' ' && b != 0x7f }

// isPrint is what may stand in a target or a host.
func isPrint(b byte) bool { return b > ' ' && b < 0x7f }

func all(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}

// trim cuts optional white space off (RFC 9110, 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
