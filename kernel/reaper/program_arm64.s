//go:build linux

#include "textflag.h"

// func start() *byte
TEXT ·start(SB), NOSPLIT, $0-8
	MOVD $·code(SB), R0
	MOVD R0, ret+0(FP)
	RET

#define SYS_ioctl           29
#define SYS_write           64
#define SYS_exit_group      94
#define SYS_kill            129
#define SYS_rt_sigprocmask  135
#define SYS_rt_sigtimedwait 137
#define SYS_setpgid         154
#define SYS_prctl           167
#define SYS_getpid          172
#define SYS_clone           220
#define SYS_execve          221
#define SYS_wait4           260

// Where the stack holds what system calls point at.
#define all    0  // every signal
#define none   8  // no signal
#define status 16 // of a child that has ended
#define number 24 // the command's own pid
#define info   32 // siginfo_t, 128 bytes
#define room   160

#define name            0x400078 // base + headers
#define complaint       0x400084 // after the name
#define complaintLength 52

// The program, see program_amd64.s. R19 is argv, R20 envp, R21 the command's pid, R22 its failed errno; the kernel keeps
// all registers but R0 across a system call.
TEXT ·code(SB), NOSPLIT|NOFRAME, $0
	MOVD RSP, R9
	MOVD (R9), R0
	ADD  $8, R9, R19
	LSL  $3, R0, R0
	ADD  $16, R9, R20
	ADD  R0, R20, R20
	SUB  $room, RSP
	MOVD RSP, R9
	MOVD $-1, R0
	MOVD R0, all(R9)
	MOVD ZR, none(R9)

	MOVD $2, R0 // SIG_SETMASK
	ADD  $all, R9, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC

	MOVD $15, R0 // PR_SET_NAME
	MOVD $name, R1
	MOVD $SYS_prctl, R8
	SVC

	MOVD $(0x100|0x4000|17), R0 // CLONE_VM, CLONE_VFORK, SIGCHLD
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $SYS_clone, R8
	SVC
	CBZ  R0, child
	TBNZ $63, R0, refused
	MOVD R0, R21

next:
	ADD  $all, R9, R0
	ADD  $info, R9, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigtimedwait, R8
	SVC
	CMP  $0, R0
	BLE  next
	CMP  $17, R0 // SIGCHLD
	BEQ  reap
	MOVD R0, R1
	MOVD R21, R0
	MOVD $SYS_kill, R8
	SVC
	B    next

reap:
	MOVD $-1, R0
	ADD  $status, R9, R1
	MOVD $1, R2 // WNOHANG
	MOVD ZR, R3
	MOVD $SYS_wait4, R8
	SVC
	CMP  $0, R0
	BLE  next
	CMP  R21, R0
	BNE  reap
	MOVWU status(R9), R1
	AND  $0x7f, R1, R0
	CBNZ R0, signaled
	LSR  $8, R1, R0
	AND  $0xff, R0, R0
	B    leave

signaled:
	ADD  $128, R0, R0
	B    leave

child:
	MOVD ZR, R0
	MOVD ZR, R1
	MOVD $SYS_setpgid, R8
	SVC
	MOVD $SYS_getpid, R8
	SVC
	MOVD R0, number(R9)
	MOVD ZR, R0
	MOVD $0x5410, R1 // TIOCSPGRP; no terminal, no harm
	ADD  $number, R9, R2
	MOVD $SYS_ioctl, R8
	SVC
	MOVD $2, R0 // SIG_SETMASK
	ADD  $none, R9, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC
	MOVD (R20), R0
	ADD  $16, R19, R1
	ADD  $8, R20, R2
	MOVD $SYS_execve, R8
	SVC

refused:
	MOVD R0, R22
	MOVD $2, R0
	MOVD $complaint, R1
	MOVD $complaintLength, R2
	MOVD $SYS_write, R8
	SVC
	MOVD $126, R0
	CMN  $2, R22 // ENOENT
	BNE  leave
	MOVD $127, R0

leave:
	MOVD $SYS_exit_group, R8
	SVC
	B    leave
	BRK
	BRK
	RET
