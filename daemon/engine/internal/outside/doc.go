// Package outside makes the health checks that need no process in the container: pierd asks a port of it, or looks for a file.
//
//	["HTTP", "http://:8080/healthz"]   GET answers 200 to 399; https:// too, whoever's certificate it is
//	["TCP", ":5432"]                   the port takes a connection
//	["GRPC", ":50051", "service"]      grpc.health.v1.Health/Check says SERVING; the service may be left out
//	["FILE", "/run/ready"]             something is there
//
// A port is asked on a socket made inside the container's network namespace (kernel/link.PlaceCalls), at 127.0.0.1 and where
// nobody listens there at ::1, or at an address that the container itself has: an image's or a user's words lead nowhere else.
// A file is looked for in the root that the container's first process has (kernel/fsroot).
//
// All that comes back is the container's: what is read of it has a limit, and its time is the probe's timeout. No proxy is
// asked, no redirect followed, no name looked up.
//
//	Parse → Check ── Job ──> Prober.Run: sockets made together ── one goroutine for each answer ──> Job.Tell
//
// Locks: Prober.mu is taken alone.
//
// Start reading at Prober.Run.
package outside
