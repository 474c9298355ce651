// Package lab gives black-box tests a pierd with roots, bridge and cgroup of its own, and checks when the test is over
// that nothing of it is left on the machine.
//
// Start reading at Start.
package lab
