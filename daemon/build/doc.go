// Package build turns a Dockerfile and a context into an image.
//
//	Request -> context (unpacked once, content-addressed) -> Dockerfile -> LLB graph -> solver -> image
//
// The Dockerfile language is BuildKit's own library (dockerfile2llb); the graph it answers with is solved here, over
// the layer store and the engine's step executor. No other room knows of LLB.
//
// Start reading at Builder.Build.
package build
