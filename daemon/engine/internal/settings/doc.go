// Package settings turns what a client asked for, together with an image's configuration, into the settings a container
// keeps: merged, defaulted and checked. It is pure but for looking whether a bind's source exists. Refusals are of kind
// Invalid and have Docker's words, which its clients print and some of them match.
//
// Start reading at Complete.
package settings
