// Package tlspipe is the program pier-tls: it opens one connection with TLS and joins it with its standard streams, as
// ssh does for ssh://. It is a program of its own because every start of a program that links TLS pays for it, and
// `pier` is started often, mostly for a unix socket (docs/rationale.md).
//
//	pier -- dials --> pier-tls [--verify] [--ca FILE] [--cert FILE --key FILE] HOST:PORT
//	     <-- "ok\n", or "invalid: why\n", "dial: why\n", "tls: why\n" and the end
//	     <-- bytes both ways; the end of the input goes on to the server -->
//
// Start reading at Main.
package tlspipe
