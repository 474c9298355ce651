package http1

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxHead bounds the head of one answer, and its trailer, in bytes each.
	maxHead = 256 << 10
	// maxInformed is how many answers of the kind "wait for it" (1xx) may come before the answer.
	maxInformed = 8
)

// Response is an answer. Its Body is never nil and wants to be closed; the connection is used again only when it was
// read to its end before.
type Response struct {
	Status int
	Reason string // "404 Not Found"
	Header Header
	Body   io.ReadCloser
}

// malformed is an answer that is no HTTP.
func malformed(format string, args ...any) error {
	return fmt.Errorf("malformed answer: "+format, args...)
}

// readHead reads the head of the answer, passing over those that only announce it. last: the connection ends with it.
func readHead(r *bufio.Reader) (resp *Response, last bool, err error) {
	for range maxInformed {
		resp, last, err = readOneHead(r)
		if err != nil || resp.Status >= 200 || resp.Status == SwitchingProtocols {
			return resp, last, err
		}
	}
	return nil, false, malformed("more than %d of them announce another", maxInformed)
}

func readOneHead(r *bufio.Reader) (resp *Response, last bool, err error) {
	room := maxHead
	line, err := readLine(r, &room)
	if err != nil {
		return nil, false, err
	}
	version, reason, _ := strings.Cut(line, " ")
	digits, _, _ := strings.Cut(reason, " ")
	status, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 || status < 100 || !all(reason, isText) {
		return nil, false, malformed("%q is no status line", shortened(line))
	}
	resp = &Response{Status: status, Reason: reason}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		last = true
	default:
		return nil, false, malformed("%q is no status line of HTTP/1", shortened(line))
	}
	if resp.Header, err = readFields(r, &room); err != nil {
		return nil, false, err
	}
	return resp, last || resp.Header.contains("Connection", "close"), nil
}

// readFields reads fields up to the empty line.
func readFields(r *bufio.Reader, room *int) (Header, error) {
	header := make(Header, 0, 8)
	for {
		line, err := readLine(r, room)
		if err != nil {
			return nil, unexpected(err)
		}
		if line == "" {
			return header, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || !all(value, isText) {
			return nil, malformed("%q is no header", shortened(line))
		}
		header = append(header, Field{name, trim(value)})
	}
}

// readLine reads a line without its end, which is CR LF. It takes the line's bytes from room.
func readLine(r *bufio.Reader, room *int) (string, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if *room -= len(part); *room < 0 {
			return "", malformed("its head is longer than %d bytes", maxHead)
		}
		switch {
		case err == bufio.ErrBufferFull:
			long = append(long, part...)
			continue
		case err == io.EOF && len(long)+len(part) > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
		if long != nil {
			part = append(long, part...)
		}
		line, ok := strings.CutSuffix(string(part), "\r\n")
		if !ok {
			return "", malformed("the line %q does not end as lines do", shortened(string(part)))
		}
		return line, nil
	}
}

// shortened is text of the other side in an error message.
func shortened(s string) string { return s[:min(len(s), 100)] }

// unexpected is the end of what had begun.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// framing finds how the body of an answer to method ends (RFC 9112, 6.3): in chunks, after length bytes, or, with a
// length of -1, with the connection.
func (resp *Response) framing(method string) (chunked bool, length int64, err error) {
	length = -1
	for _, f := range resp.Header {
		switch {
		case strings.EqualFold(f.Name, "Transfer-Encoding"):
			if chunked || !strings.EqualFold(f.Value, "chunked") {
				return false, 0, malformed("transfer encoding %q", shortened(f.Value))
			}
			chunked = true
		case strings.EqualFold(f.Name, "Content-Length"):
			n, err := strconv.ParseUint(f.Value, 10, 63)
			if err != nil || length >= 0 && length != int64(n) {
				return false, 0, malformed("content length %q", shortened(f.Value))
			}
			length = int64(n)
		}
	}
	switch {
	case chunked && length >= 0:
		return false, 0, malformed("it has a content length and chunks")
	case method == "HEAD" || resp.Status == NoContent || resp.Status == NotModified || resp.Status < 200:
		return false, 0, nil
	case chunked:
		return true, 0, nil
	}
	return false, length, nil
}

// The status codes that mean something to this program (RFC 9110, 15).
const (
	SwitchingProtocols  = 101
	OK                  = 200
	NoContent           = 204
	NotModified         = 304
	BadRequest          = 400
	Unauthorized        = 401
	Forbidden           = 403
	NotFound            = 404
	RequestTimeout      = 408
	Conflict            = 409
	NotImplemented      = 501
	ServiceUnavailable  = 503
	GatewayTimeout      = 504
	InsufficientStorage = 507
)
