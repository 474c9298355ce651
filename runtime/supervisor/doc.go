// Package supervisor is the one process per host that owns every container process: it starts them, holds their standard
// streams, writes their logs, waits for them and keeps their exit records. It serves api/shim on a unix socket, dials
// nobody, and knows nothing of images, networks or HTTP.
//
//	container --stdout--> FIFO --peek--> attached streams --> log (or ring) --then--> consume
//	          <--stdin--- FIFO <-- pierd writes here itself
//	          <--- tty ---> master --move--> FIFO (and on as above)
//
// # Why no byte is lost or doubled
//
// Output stays in the FIFO until it was sent to all attached streams and is in the log; the FIFO is held open by the
// container, by pierd and by the supervisor, so it outlives each of them. What the supervisor is about to do is first
// noted in the task's journal, a mapped page (internal/journal). A new supervisor reads from it whether the log was written
// and the FIFO emptied, and goes on from there; an attached stream says how far it had come. Until pierd has the answer to a
// Start or Exec, a deposit stands in for it (deposit.go).
//
// # On disk, below the root folder
//
//	supervisor.sock            mode 0600; only root may connect
//	tasks/<id>/journal         the mapped page: what was started, process, positions, intents, exit (internal/journal)
//	tasks/<id>/task.json       what was started, where the page has no room for it
//	tasks/<id>/{stdin,stdout,stderr}   FIFOs, owned by the container's user
//	tasks/<id>/{stdout,stderr}.ring    output on its way to the log, where there is some (ring.go)
//	tasks/<id>/exit.json       the exit record for people and tools, written once the exit is announced
//	tasks/<id>/exec/<exec>/    the same for each process started later
//
// # Slow readers
//
// A stream that was attached before the start, or to an exec, is like the reader of a shell's pipe: the task waits for
// it without limit. Any other attached stream, and every one of a task that has a ring for its log, may hold the task up
// for StallLimit without taking a byte; then it is dropped. The end of a task waits for no stream: what one has not taken yet (a FIFO's content at most) is kept for it.
//
// # Slow logs
//
// A task waits for its log as for a patient stream, unless shim.Log.Buffer says otherwise: then a ring stands between them,
// which a goroutine of its own empties (ring.go). A ring also takes the beginning of a line that is longer than the FIFO.
// What is in a ring survives the supervisor.
//
// # Locks
//
// Supervisor.mu guards the maps. hub.mu guards a task's list of streams and the positions. attacher.mu keeps frames
// whole, the log's own lock keeps lines whole, stream.ringMu the bounds of a ring. They are taken in this order, but
// attacher.mu, the log's and ringMu never together.
// Supervisor.starting is held for reading while processes are made, so that the reaper of orphans knows them all.
//
// Start reading at Run.
package supervisor
