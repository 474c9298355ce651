// Package request turns the words of a command line into what the Engine API takes: a set of flags, a pure function, a
// request. Files are read where a flag names one (--env-file, --label-file, a seccomp profile); nothing is sent.
//
//	container.go  run and create: process, health, and the order of the parts
//	network.go    ports, networks, names
//	storage.go    volumes, mounts, tmpfs
//	resources.go  limits, devices, restart, logs, security
//	build.go      build
//	pairs.go      KEY=VALUE words and files
//
// Start reading at Container.Request.
package request
