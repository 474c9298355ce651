// Package api tests pierd from outside: the real daemon with the real runtime, spoken to over its socket. Every answer
// is checked against the published description of the Engine API, and after the end nothing may be left behind.
//
// Start reading at TestSession.
package api
