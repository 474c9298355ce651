// Package files reads and writes the files of containers from outside: what cp, export and the archive endpoints do.
//
//	Keep ── View ── Stat, Expand, Pack, Unpack  a container's files as its processes see them
//
// A View is one open root folder. Of a running container it is its process's own root, mounts and all; of another one
// the same mounts, put together where nobody else sees them. Every name in it is resolved by kernel/fsroot, which the
// container's processes may make miss its aim by renaming things, but never lead out of their own files. No program is
// run, and archives are decompressed in this process before anything is looked up in the container.
//
// Start reading at Keep.
package files
