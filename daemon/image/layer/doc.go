// Package layer keeps image layers as folders that overlayfs stacks, and the writable layers of containers.
//
// Start reading at Store.
package layer
