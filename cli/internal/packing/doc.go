// Package packing makes the tar that a build sends: a folder without what .dockerignore excludes, with its Dockerfile.
//
// Start reading at Folder.
package packing
