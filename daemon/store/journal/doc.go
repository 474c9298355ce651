// Package journal remembers the daemon's events beyond its own life, and for readers that are slower than the feed's ring.
//
//	rooms --Publish--> feed (a ring in memory) ------------------------------+
//	                     |                                                   v
//	                     +--> Journal, one goroutine --> events.log --> Reader.Next --> GET /events
//	                                                     events.1.log
//
// On disk: lines "SEQUENCE NANOSECONDS JSON" in the order of their sequence numbers, which go on from one daemon to the next.
// When events.log has grown to its limit it takes the place of events.1.log, so that the journal is bounded. Nothing is
// synced: a power cut may cost the latest events, the death of pierd what has happened within a few milliseconds.
//
// A publisher never waits for the disk. Where the disk takes nothing, the journal has a gap, and says so in the log.
//
// Start reading at Open.
package journal
