// Package link makes network namespaces, bridges and the pairs of virtual Ethernet devices between them.
//
// Start reading at Manager.
package link
