// Package client talks to pierd, or to any other server of the Docker Engine API, over a unix socket, TCP with mutual
// TLS, or ssh.
//
// The request and answer types are those of github.com/moby/moby/api. The protocol is the standard library's: the
// published client library brings OpenTelemetry with it, which would double the start time of `pier`
// (docs/rationale.md). Short requests run in their caller's goroutine (transport.go).
//
//	Find (host.go)      which server: -H, PIER_HOST, context, default socket
//	Client (client.go)  one request, one answer; a stream; a hijacked connection (hijack.go)
//	containers.go streams.go execs.go images.go networks.go volumes.go system.go
//	                    a type for each resource, a typed method for each operation: c.Containers().Create(...)
//
// Start reading at New.
package client
