// Package reaper holds the first program of a container that asked for an init (docker run --init): it starts the
// container's command, passes every signal on to it, reaps whatever else ends, and ends as the command does.
//
//	Open -> a sealed memfd with an ELF program of some 500 bytes, fit for execveat with AT_EMPTY_PATH
//
//	argv[0]    how the program shows in ps
//	argv[1]    "--"
//	argv[2:]   the command's argument list
//	envp[0]    the path of the command's file; the program searches nothing
//	envp[1:]   the command's environment
//
// The program is a hundred lines of assembly that live in our own text, and are copied from there into the memfd: no
// second binary is installed, nothing of ours is visible in the container's file system, and what the program costs is
// two pages of memory and the kernel's bookkeeping of a process. It links no runtime and calls no library.
//
// The command is in a process group of its own, which has the terminal where standard input is one: what the terminal
// sends to the foreground reaches the command once, not a second time through the init.
//
// Linux; amd64 and arm64.
//
// Start reading at Open, then program_amd64.s.
package reaper
