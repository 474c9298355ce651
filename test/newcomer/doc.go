// Package newcomer does what the README says, on a clean clone.
//
// Start reading at TestReadme.
package newcomer
