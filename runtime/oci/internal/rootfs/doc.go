// Package rootfs fills a container's root: its mounts, /dev, devices and terminal, masked and read-only paths.
//
// The parent opens what the configuration names and makes ready what a child in a user namespace may not (bind sources,
// /dev, devpts); the rest is added to the child's calls. A mount is only made on a descriptor that was resolved inside the
// root (openat2 RESOLVE_IN_ROOT and NO_MAGICLINKS); /proc and /sys must be real folders of the root and /dev is never
// reached through a symbolic link.
//
//	Open     the root, as a detached mount                                         root.go
//	Fill     attach it, mount what is in it                                        mounts.go, owners.go, copyup.go, dev.go, devices.go
//	Cover    masked and read-only paths                                            paths.go
//	Change   pivot_root                                                            root.go
//
// Start reading at Root.
package rootfs
