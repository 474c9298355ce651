// Package crash kills Pier's processes while containers run, and checks that nobody notices: containers go on, every
// line of their output is in the log once, exit codes arrive, and nothing leaks.
//
//	TestKill*        kills at moments of its own choice, and a look at every trace
//	TestKillMatrix   every operation x every system call with an effect x who dies, generated: a tracer lists the calls
//	                 that the operation makes, and then stops before each of them. make test runs a sample, make
//	                 test-crash all; PIER_KILL_CELL=words picks cells by their names
//
// Start reading at TestKill.
package crash
