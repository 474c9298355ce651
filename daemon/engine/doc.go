// Package engine runs containers: their records, their life cycle, their processes' streams and logs. It is the only
// room that joins images, networks and volumes, and that speaks to the supervisor.
//
//	server, build                         Files  Containers  Streams  Execs  Step        (the door)
//	                                                  |         |       |     |
//	image  network  volume  <-- references, mounts -- ctr: row, worker  |     |
//	                                                  |    lifecycle.Step     |
//	supervisor  <-- Start, Signal, Freeze, Delete --- custody ----------------+
//	supervisor  --- Exit ---------------------------> followExits -> the worker -> events
//
// Every container has a worker, a queue of functions run one after the other; it has a goroutine only while there is
// something to run. An operation is one function: it feeds an input to the pure life cycle (internal/lifecycle) and does
// the effects that come back. Nothing that takes a container's own time happens in the worker: whoever waits for a
// process to end does so outside. Readers (List, Inspect, filters) read an immutable row through an atomic pointer.
//
// # On disk
//
//	containers/<id>/<id>-json.log[.N]    output, written by the supervisor
//	containers/<id>/{hostname,hosts,resolv.conf}   written at each start, bound into the container
//	containers/<id>/checkpoints          its checkpoints, see internal/checkpoint
//	containers/<id>/secrets, secrets.run the content of its secrets, and as it sees them (internal/secrets)
//	containers/<id>/shm                  /dev/shm of a container with --ipc shareable, mounted while it runs
//	containers/step-<id>/...             the same three for a build step, while it runs
//	table "containers": id -> row        in pier.db, synced; for --rm in volatile.db, not synced
//
// # Order of the durable steps
//
// The record is the truth. What a container owns is made before its record and removed after it, so a kill -9 between
// any two steps leaves things without a record, which the next Open sweeps (folders, writable layers, processes,
// tasks of the supervisor; references on images and volumes live in memory and are rebuilt from the records):
//
//	create   name reserved, image held, folder with its secrets and a note of the volumes that come, volumes made and held, writable
//	         layer, RECORD
//	start    network and root made, process started, RECORD running. A crash before the record: Open finds the process
//	         in the supervisor's list, and records that it runs.
//	exit     supervisor's exit record; network and mounts given back, RECORD exited, then the supervisor may forget.
//	         A crash before the record: Open hears of the exit again.
//	remove   RECORD removing (it has anonymous volumes to take along), volumes, RECORD gone, folder, writable layer.
//	         A crash in the middle: Open removes it anew.
//
// # Locks
//
// internal/index (maps of names and identifiers), internal/waiters, internal/streams, internal/execs, internal/queue,
// internal/step: each guards memory for the length of a map access and is never held while something waits. Where two are
// taken, it is within internal/execs: its table's, then that of one exec.
//
// Start reading at Engine, then apply.
package engine
