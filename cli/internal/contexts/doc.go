// Package contexts keeps the named daemons of `pier context` where docker keeps its own: ~/.docker/contexts, one folder
// of metadata and one of TLS files for each, by the SHA-256 of its name; the current one is named in config.json. Reading
// one to connect is the client's business (package client).
//
//	meta/<sha256>/meta.json              name, description, address
//	tls/<sha256>/docker/{ca,cert,key}.pem
//
// Start reading at Store.
package contexts
