// Package digest stands in the place of github.com/opencontainers/go-digest, for all of Pier and the libraries it links:
// content addresses of the form algorithm ":" encoded (OCI image specification, descriptor.md). The published package
// compiles five regular expressions when a program starts, which `pier` would do at each of its starts and, as it checks
// no digest, never use; that took a seventh of the processor time of its own code. Here the grammar is read by hand.
//
// It has what the published version 1.0.0 has, but for the exported regular expressions and names that were deprecated
// there and that nobody here uses.
//
//	algorithm.go  Algorithm: which hash, how its sum is written
//	digest.go     Digest: parsing, checking, taking apart
//	digester.go   Digester and Verifier: hashing what is written to them
//
// Start reading at Digest.
package digest
