package docker

// First words of Healthcheck.Test that Pier adds to NONE, CMD and CMD-SHELL: checks that pierd makes itself, without a
// process in the container.
const (
	ProbeHTTP = "HTTP" // then [http://|https://][host]:port[/path]
	ProbeTCP  = "TCP"  // then [host]:port
	ProbeGRPC = "GRPC" // then [host]:port, and the service's name where it has one
	ProbeFile = "FILE" // then an absolute path
)

// IsProbe reports whether test, a Healthcheck.Test, is such a check. A server without the addition AddedProbes makes a
// container that is never checked from one.
func IsProbe(test []string) bool {
	if len(test) == 0 {
		return false
	}
	switch test[0] {
	case ProbeHTTP, ProbeTCP, ProbeGRPC, ProbeFile:
		return true
	}
	return false
}
