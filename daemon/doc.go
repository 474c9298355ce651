// Package daemon is pierd: it builds the rooms, wires them, and takes them down again.
//
//	command (flags, signals)
//	   |
//	daemon.Open --> records, layers, images, networks, volumes, custody --> engine --> build --> server
//	   |                                                                                          |
//	Daemon.Serve (sockets) <------------------------------------------------------------------------
//
// On disk, below the data root (mode 0711; the folders of the rooms are described by them):
//
//	pier.db        records that survive a power cut (daemon/store/record)
//	engine-id      identifier of this installation
//	images/ layers/ containers/ volumes/ build/
//
// and below the exec root, which a reboot empties:
//
//	volatile.db    records that a reboot makes meaningless
//	pier.sock      the API, unless hosts are configured
//	pierd.pid      process identifier of pierd
//	pierd.start    the same and when it began, which no other process has in common with it
//	tasks/ ...     the supervisor's
//
// Both databases are locked while pierd runs: a second pierd on either root refuses to start.
//
// Start reading at Open.
package daemon
