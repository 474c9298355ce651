// Package registry moves content from OCI registries into a blob store.
//
//	Client ─ Open ─> Session ─ Choose ─> the manifest for a platform (through any indexes)
//	                         └ Fetch ──> one blob into the store: resumed, in parallel ranges, verified
//
// Documents are decoded in one place, ParseManifest, which refuses what two readers could understand differently. What
// credentials may be sent where is decided in one place, the guard under every connection.
//
// Tests pull from a registry of their own, package registrytest.
//
// Start reading at Client.Open.
package registry
