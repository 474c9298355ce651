// Package health checks whether containers are well.
//
//	engine --- Start, Stop ---> Monitor, one a container: its health, and the check under way
//	                               |
//	engine <-- Subject --------- Prober: what is due at about the same time, together
//	                               |
//	                custody.Probes, or package outside
//
// A Check says what a health check means. Between two probes a container waits among others, and has no goroutine.
//
// Start reading at Prober.Start.
package health
