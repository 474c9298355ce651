// Package registry moves content between a blob store and OCI registries.
//
// Start reading at Client.
package registry
