// Package report prints what the daemon says of itself: versions, system information, events.
//
// Start reading at Version.
package report
