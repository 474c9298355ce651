#include "textflag.h"

// The layout of call, see list.go.
#define call_nr        0
#define call_args      8
#define call_indirect  56
#define call_tolerate  64
#define call_onsuccess 72
#define call_onerror   80
#define call_out       88
#define call_result    96
#define call_done      104
#define call_caught    112
#define call_shift     7

#define SYS_clone      56
#define SYS_clone3     435
#define SYS_exit_group 231

// func cloneAddress() uintptr
TEXT ·cloneAddress(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·clone(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func clone(args *cloneArgs, size uintptr, first, end *call, failed **call, keep *List) uintptr
//
// The parent returns what clone3 returned. The child shares our memory and our stack; it never touches the stack and
// never returns: it works through the calls from first to end in registers alone.
TEXT ·clone(SB), NOSPLIT|NOFRAME, $0-56
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ first+16(FP), R12
	MOVQ end+24(FP), R13
	MOVQ failed+32(FP), R15
	MOVL $SYS_clone3, AX
	SYSCALL
	TESTQ AX, AX
	JZ   next
	MOVQ AX, ret+48(FP)
	RET

next:
	CMPQ R12, R13
	JAE  leave
	MOVQ (call_args+0)(R12), DI
	MOVQ (call_args+8)(R12), SI
	MOVQ (call_args+16)(R12), DX
	MOVQ (call_args+24)(R12), R10
	MOVQ (call_args+32)(R12), R8
	MOVQ (call_args+40)(R12), R9
	MOVQ call_indirect(R12), BX
	BTQ  $0, BX
	JCC  direct0
	MOVQ (DI), DI
direct0:
	BTQ  $1, BX
	JCC  direct1
	MOVQ (SI), SI
direct1:
	BTQ  $2, BX
	JCC  direct2
	MOVQ (DX), DX
direct2:
	BTQ  $3, BX
	JCC  direct3
	MOVQ (R10), R10
direct3:
	BTQ  $4, BX
	JCC  direct4
	MOVQ (R8), R8
direct4:
	MOVQ $1, call_done(R12)
	MOVQ call_nr(R12), AX
	CMPQ AX, $-1
	JEQ  check
	CMPQ AX, $-2
	JEQ  checknot
	CMPQ AX, $-3
	JEQ  split
	SYSCALL

result:
	MOVQ AX, call_result(R12)
	CMPQ AX, $-4095
	JAE  error
	MOVQ call_out(R12), CX
	TESTQ CX, CX
	JZ   kept
	MOVQ AX, (CX)
kept:
	MOVQ call_onsuccess(R12), CX
	JMP  skip

error:
	NEGQ AX
	CMPQ AX, $64
	JAE  fail
	MOVQ call_tolerate(R12), CX
	BTQ  AX, CX
	JCC  fail
	MOVQ call_caught(R12), CX
	TESTQ CX, CX
	JZ   uncaught
	MOVQ AX, (CX)
uncaught:
	MOVQ call_onerror(R12), CX
skip:
	INCQ CX
	SHLQ $call_shift, CX
	ADDQ CX, R12
	JMP  next

check:
	// nr -1 is no system call: is (*arg0 & arg1) == arg2? If not, the error is arg3.
	MOVQ (DI), AX
	ANDQ SI, AX
	CMPQ AX, DX
	JEQ  good
bad:
	MOVQ R10, AX
	NEGQ AX
	JMP  result
good:
	XORL AX, AX
	JMP  result

checknot:
	// nr -2: the same, but they must differ.
	MOVQ (DI), AX
	ANDQ SI, AX
	CMPQ AX, DX
	JEQ  bad
	JMP  good

split:
	// nr -3 is clone: the new process goes on with the list. This one reads nothing more that it shares, and ends.
	MOVL $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JLE  result
	XORL DI, DI
	JMP  exit

fail:
	MOVQ R12, (R15)
leave:
	MOVL $127, DI
exit:
	MOVL $SYS_exit_group, AX
	SYSCALL
	INT  $3
	JMP  exit
