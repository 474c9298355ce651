// Package table prints what commands found out: aligned columns, JSON, or a Go template with docker's functions.
//
// Start reading at Render.
package table
