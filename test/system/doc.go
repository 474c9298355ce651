// Package system runs containers that are more than one program: a whole Debian under systemd, an init of busybox with
// services below it, and a router between two networks.
//
// Start reading at TestSystemd.
package system
