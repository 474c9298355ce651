// Package engine runs containers: their records, their life cycle, their processes' streams and logs.
//
// Start reading at Engine.
package engine
