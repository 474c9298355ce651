// Package command is the OCI runtime command line of pier-runtime, for engines that call a runtime as a program: the
// commands and flags of runc, whose documentation describes them, and the life cycle of the OCI runtime specification.
//
// State of a container, below --root (default /run/pier-runtime), made and removed with the container:
//
//	<root>/<id>/state.json   what is known of it; the configuration is read once, at create, and kept here
//	<root>/<id>/gate/        where its first process waits until start (oci.Release)
//
// A container's status is never stored: it follows from whether its process (number and start time) lives and whether
// the gate still stands; only "paused" is written down.
//
// Start reading at Main.
package command
