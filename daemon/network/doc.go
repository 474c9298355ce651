// Package network connects containers: bridges, addresses, published ports, names.
//
// Start reading at Networks.
package network
