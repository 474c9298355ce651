// Package process writes the OCI runtime configuration of a container's first process, and of further ones, from the
// container's settings. What depends on the container's own files (its user, its working directory) is looked up inside
// its root, by kernel/fsroot, and nowhere else.
//
// Start reading at Container.
package process
