// Package newcomer does what the README says, on a clean clone, alone on a machine and beside Docker.
//
// Start reading at TestReadme.
package newcomer
