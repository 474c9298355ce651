// Package registry moves content between a blob store and OCI registries, and is a registry itself.
//
//	Client ─ Open ─> Session ─ Choose ─> the manifest for a platform (through any indexes)
//	                         └ Fetch ──> one blob into the store: resumed, in parallel ranges, verified
//	Server: http.Handler for /v2/ over the same kind of store; pierd serves none yet, tests pull from it
//
// Documents are decoded in one place, ParseManifest, which refuses what two readers could understand differently. What
// credentials may be sent where is decided in one place, the guard under every connection.
//
// Server's disk schema: tables "registry-links" (repository@digest) and "registry-tags" (repository:tag) of the records.
// Locks: Server.mu guards the map of uploads, upload.mu orders the requests of one; the second is never taken under the first.
//
// Start reading at Client.Open.
package registry
