// Package docker holds what Pier needs of the Docker Engine API and the published types (github.com/moby/moby/api) do
// not cover: the range of versions, the filter argument, how names are made, detach keys, the lines of a progress stream, and
// the fields that older versions of the API had and newer ones dropped.
//
// Nothing here knows how a request is served or sent; pierd and the clients both import it.
//
// Start reading at Version.
package docker
