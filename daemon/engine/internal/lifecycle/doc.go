// Package lifecycle is the life of a container as a pure function: from what it is and what happens to it, Step tells
// what it becomes and what must be done. It waits for nothing, touches nothing and knows no time but that of its inputs.
//
//	          start                pause
//	created --------> running <----------> paused
//	                  |  ^   unpause         |
//	             exit |  | due               | exit
//	                  v  |                   v
//	      exited <-- restarting <---- (restart policy)
//	         |
//	         +--- remove ---> removing ---> gone, or dead where removal failed
//
// Every state may also be entered by Boot, when the daemon starts and compares its record with the processes it finds.
//
// Start reading at Step.
package lifecycle
