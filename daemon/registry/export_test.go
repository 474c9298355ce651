package registry

// What the tests from outside know of downloads in pieces.
const (
	ParallelFrom = parallelFrom
	ChunkSize    = chunkSize
)
