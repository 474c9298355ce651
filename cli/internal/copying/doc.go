// Package copying is the user's half of `cp`: who copies (Copier), what a source and a destination mean (Place), and tars
// of local files.
//
// The meaning of "/" and "/." at the end of a path, and of destinations that do not exist, is docker's. Archives that
// come from a container are unpacked through an os.Root: nothing in them leads out of the destination. Patterns in a
// container's path are the daemon's to expand.
//
// Start reading at Copier.
package copying
