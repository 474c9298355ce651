// Package registrytest gives tests a registry on loopback. It is a strict one, so that whoever pulls, and later pushes, meets what a
// real registry would say: repositories that show only what is theirs, uploads in pieces, ranges, manifests that are
// refused as long as a part of them is missing. pierd serves no registry and does not link this.
//
// Disk schema: tables "registry-links" (repository@digest) and "registry-tags" (repository:tag) of a record database.
// Locks: server.mu guards the map of uploads, upload.mu orders the requests of one; the second is never taken under the first.
//
// Start reading at Start.
package registrytest
