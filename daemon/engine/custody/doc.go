// Package custody is pierd's side of mutual custody: it starts, watches and replaces the supervisor, keeps what a new
// one needs, and sends requests to the living one.
//
//	pierd (Custodian)                                supervisor
//	  requests, pooled connections  ---------------->  starts, signals, deletes tasks
//	  one Watch connection          <----------------  every exit, every closed standard input
//	  duplicates of pidfd, stdio    <----------------  with each answer to Start, Exec, Custody
//	  a stream's frames             <----------------  output, on a connection that asked or on a socket that an Exec took along
//	  standard input of attachers   ---- FIFO/tty -->  the container itself (the supervisor is not on that way)
//
// # When one of the two dies
//
//   - pierd: Open dials the supervisor that lives on, takes duplicates of all tasks (Custody) and their exits (Watch).
//   - the supervisor: the Custodian starts another at once and hands over (Adopt) each task it holds. Tasks that fell to
//     pierd (a child subreaper) are reaped here and reported (Reaped); attached streams are taken up where they broke.
//   - both: Open starts a supervisor which finds the tasks that still run by their files (pid, start time, boot id).
//
// A request that was in flight when the supervisor died is sent again to the next one if that is harmless (Signal may
// so arrive twice). A Start or Exec is answered by what the next supervisor knows about it: it runs, or it ran and has
// exited; if it never began it is tried once more. Until the answer has come a deposit keeps what the next supervisor needs
// (deposit.go).
//
// Start reading at Open.
package custody
