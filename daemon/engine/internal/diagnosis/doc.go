// Package diagnosis says why a program could not be executed, in one sentence with the cause and the remedy. It looks
// only after a failure, at the files as the process would have seen them, through kernel/fsroot; it reads at most a few
// KiB of any file and follows a chain of interpreters no further than the kernel does. What it reads is hostile: nothing
// of it is trusted or executed, and where it makes no sense the answer is no sentence at all.
//
// Start reading at Explain.
package diagnosis
