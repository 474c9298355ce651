// Package logging writes the logs of containers: the file with its entries, its rotation and compression, and a ring that
// holds output which cannot be written yet.
//
// # On disk
//
//	PATH            the live file: one JSON object a line, as Docker's json-file driver writes it
//	PATH.1 ...      its predecessors, the youngest first; PATH.1.gz once compressed
//	PATH.pack       a compressed file that is being made
//
// A compressed file is plain gzip to any reader; in truth it consists of blocks (lib/gzblock) of about a megabyte, each
// with a note that says of which times its entries are and how many they are (see Note). Within a file times never fall
// unless the machine's clock does.
//
// # What may be missing
//
// An entry that cannot be written, because the disk is full or the ring overflows, is lost; the output that caused it
// never waits. The file stays whole: what was written of the entry is cut off again. As soon as an entry can be written, one
// on standard error goes before it and says how much is missing and why.
//
// Start reading at File.Append.
package logging
