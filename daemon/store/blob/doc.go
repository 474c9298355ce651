// Package blob keeps content by its digest, in the form of an OCI image layout that any tool can read.
//
//	<root>
//	├── oci-layout          {"imageLayoutVersion":"1.0.0"}
//	├── index.json          an empty index: which image is called what stands in Pier's records
//	├── blobs/sha256/<hex>  whole, verified content, mode 0600
//	└── ingest/<hex>        content that is still coming; survives restarts so that a download goes on where it broke
//
// A blob appears under its name only after it was written, synced and found to have the digest (one rename), so what is
// under blobs is always whole, whatever was killed when. Nothing here is locked but the set of running ingests.
//
// Start reading at Store.
package blob
