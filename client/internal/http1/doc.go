// Package http1 is the client's side of HTTP/1.1 (RFC 9112) over any connection, as far as the Engine API needs it:
// one request, one answer, connections that are used again, connections that are taken over. It exists because every
// start of a program that links net/http pays for TLS, HTTP/2 and more that `pier` does not use (docs/rationale.md).
//
// It believes nothing: an answer that is not well-formed, or longer than the limits allow, is an error and costs the
// connection. Redirects, cookies, compression and proxies do not exist here.
//
//	transport.go  Transport: many requests, few connections
//	wire.go       Wire: one request and its answer on one connection
//	request.go    a request -> bytes
//	response.go   bytes -> the head of an answer
//	body.go       the body of an answer
//
// Start reading at Transport.Do.
package http1
