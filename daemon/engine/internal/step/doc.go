// Package step runs the RUN steps of builds: processes that take the same way as a container's, but have neither
// record nor name nor log.
//
//	Run -> Networks.Join, hosts and resolv.conf -> Custody.Start -> its exit, told by Exited
//
// A folder step-<id> lives below the containers' folder while a step runs; Sweep removes what a crash left.
//
// Start reading at Steps.Run.
package step
