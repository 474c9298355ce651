// Package imageconfig makes what an image says of the containers made of it: out of a container's own configuration, out of
// the one in a request, and out of the Dockerfile instructions that commit and import take as changes.
//
// It holds no state, and what it returns shares nothing that it changes with what it was given.
//
// Start reading at Of, then Apply.
package imageconfig
