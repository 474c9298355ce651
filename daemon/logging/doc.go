// Package logging knows the log drivers.
// Start reading at Open.
package logging
