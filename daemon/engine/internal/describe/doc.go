// Package describe words what is known of a container as the Docker Engine API's answers have it. It is pure: it reads
// snapshots and asks nobody.
//
// Start reading at Container.Summary.
package describe
