// Package build turns a Dockerfile and a context into an image.
//
//	Request                                  one tar stream and the parameters of POST /build
//	  | run.go         context -> internal/tree: names in memory, contents in a spool without a name
//	  | dockerfile.go  Dockerfile, .dockerignore; BuildKit's dockerfile2llb -> definition, list of steps
//	  | resolve.go     base images: from the store, or pulled; pinned by ID and held
//	  | internal/graph definition -> vertices that can be trusted
//	  | internal/solve vertices -> layers: internal/cache, internal/fileop, engine.Step
//	  | report.go      what happens, many things at once -> events in the order of the Dockerfile
//	  v finish.go      layers, history, times -> image
//	Result
//
// The Dockerfile language is BuildKit's own library; the graph it answers with is solved here. No other room knows of
// LLB. The context never becomes files of the host, and everything else that a build names is looked up inside an
// image's root by kernel/fsroot.
//
// On disk, below Options.Root:
//
//	tmp/            spools that outgrew memory (unlinked); mnt/<id>: sources of RUN mounts while a step runs
//	cache/<id>/data RUN --mount=type=cache
//	running/<id>    an empty file for each build under way; after a crash Open removes that build's writable layers
//
// and in the records: build-cache, see internal/cache. The layers themselves are the layer store's.
//
// Locks: report.mu orders events and is held while the request's Progress is called; resolver.mu guards a build's
// images. The solver's and the cache's are described there. No lock is held across the work of a step.
//
// Start reading at Builder.Build.
package build
