// Package credentials finds what ~/.docker/config.json, and the credential helpers that it names, know about registries.
//
// Start reading at Store.For.
package credentials
