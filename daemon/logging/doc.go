// Package logging is everything about containers' logs but writing their files, which the supervisor does: the drivers and
// their options, reading logs back, and delivering them elsewhere.
//
//	                              PATH, PATH.1.gz, ...        Reader ---> Printer ---> GET /containers/{id}/logs
//	supervisor --json lines--->   (runtime/logging)    ---<
//	                                                          Shipper --> internal/send: syslog, journald, fluentd, GELF
//
// All drivers but none have the same files. With json-file they are what other programs may read; with local and with the
// remote drivers they are Pier's own affair, and lack the attributes. A remote driver's files are what `logs` reads (dual
// logging) and the buffer in front of the receiver: it may be slow or away, and no container waits for it.
//
// # Finding a place
//
// No index lies beside the files: within a file entries are in the order of their time, so a time is found by halving
// (source.timeOffset), the last lines by reading backwards, and a compressed file's blocks say of what time they are.
//
// # On disk
//
//	ID-json.log, ID-json.log.1[.gz] ...   the files
//	ID-json.log.sent                      remote drivers: how far delivery came (cursor)
//
// # Locks
//
// Shipper.mu guards the table of loads. Everything else belongs to one goroutine at a time.
//
// Start reading at Parse, for reading at Open, for delivery at Shipper.
package logging
