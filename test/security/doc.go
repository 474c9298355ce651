// Package security runs published escapes against a real pierd: hostile images, contexts, requests and containers go in
// from outside, and the host is looked at afterwards. docs/security.md lists which test stands for which report.
//
// A test states the property, not the fix: it stays when the code behind it is written anew. Old exploits are never removed,
// since several of the published ones are returns of earlier ones.
//
// Start reading at world.
package security
