// Package oci tests pier-runtime from outside: under the engines that people have, where it takes runc's place, and beside
// runc itself, whose command line it has.
//
// Start reading at TestEngines.
package oci
