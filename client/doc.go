// Package client talks to pierd, or to any other server of the Docker Engine API, over a unix socket, TCP with mutual
// TLS, or ssh.
//
// The request and answer types are those of github.com/moby/moby/api. The protocol is our own
// (internal/http1), and TLS a program of its own (tlspipe): the published client library brings OpenTelemetry, net/http
// and TLS with it, all of which every start of `pier` would pay for (docs/rationale.md).
//
//	Find (host.go)      which server: -H, PIER_HOST, context, default socket; dial.go  how to reach it
//	Client (client.go)  one request, one answer; a stream; a hijacked connection (hijack.go)
//	containers.go streams.go execs.go images.go networks.go volumes.go system.go
//	                    a type for each resource, a typed method for each operation: c.Containers().Create(...)
//
// Start reading at New.
package client
