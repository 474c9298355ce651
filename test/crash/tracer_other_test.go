//go:build !amd64

package crash

// The tracer knows the calls of one architecture. On others the matrix is not run.
const tracerEnv = "PIER_TEST_TRACER"

func tracerMain() {}
