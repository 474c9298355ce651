// Package volume keeps named and anonymous volumes: folders that outlive containers.
//
// Start reading at Volumes.
package volume
