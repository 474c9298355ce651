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

#define SYS_clone      220
#define SYS_clone3     435
#define SYS_exit_group 94

// func cloneAddress() uintptr
TEXT ·cloneAddress(SB), NOSPLIT|NOFRAME, $0-8
	MOVD $·clone(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func clone(args *cloneArgs, size uintptr, first, end *call, failed **call, keep *List) uintptr
//
// The parent returns what clone3 returned. The child shares our memory and our stack; it never touches the stack and
// never returns: it works through the calls from first to end in registers alone (R19 the call, R20 the end, R21
// failed). The kernel keeps all registers but R0 across a system call.
TEXT ·clone(SB), NOSPLIT|NOFRAME, $0-56
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD first+16(FP), R19
	MOVD end+24(FP), R20
	MOVD failed+32(FP), R21
	MOVD $SYS_clone3, R8
	SVC
	CBZ  R0, next
	MOVD R0, ret+48(FP)
	RET

next:
	CMP  R20, R19
	BHS  leave
	MOVD (call_args+0)(R19), R0
	MOVD (call_args+8)(R19), R1
	MOVD (call_args+16)(R19), R2
	MOVD (call_args+24)(R19), R3
	MOVD (call_args+32)(R19), R4
	MOVD (call_args+40)(R19), R5
	MOVD call_indirect(R19), R9
	TBZ  $0, R9, direct0
	MOVD (R0), R0
direct0:
	TBZ  $1, R9, direct1
	MOVD (R1), R1
direct1:
	TBZ  $2, R9, direct2
	MOVD (R2), R2
direct2:
	TBZ  $3, R9, direct3
	MOVD (R3), R3
direct3:
	TBZ  $4, R9, direct4
	MOVD (R4), R4
direct4:
	MOVD $1, R10
	MOVD R10, call_done(R19)
	MOVD call_nr(R19), R8
	CMN  $1, R8
	BEQ  check
	CMN  $2, R8
	BEQ  checknot
	CMN  $3, R8
	BEQ  split
	SVC

result:
	MOVD R0, call_result(R19)
	CMN  $4095, R0
	BCS  error
	MOVD call_out(R19), R11
	CBZ  R11, kept
	MOVD R0, (R11)
kept:
	MOVD call_onsuccess(R19), R11
	B    skip

error:
	NEG  R0, R0
	CMP  $64, R0
	BHS  fail
	MOVD call_tolerate(R19), R11
	LSR  R0, R11, R11
	TBZ  $0, R11, fail
	MOVD call_caught(R19), R11
	CBZ  R11, uncaught
	MOVD R0, (R11)
uncaught:
	MOVD call_onerror(R19), R11
skip:
	ADD  $1, R11, R11
	LSL  $call_shift, R11, R11
	ADD  R11, R19, R19
	B    next

check:
	// nr -1 is no system call: is (*arg0 & arg1) == arg2? If not, the error is arg3.
	MOVD (R0), R10
	AND  R1, R10, R10
	MOVD ZR, R0
	CMP  R2, R10
	BEQ  result
	NEG  R3, R0
	B    result

checknot:
	// nr -2: the same, but they must differ.
	MOVD (R0), R10
	AND  R1, R10, R10
	MOVD ZR, R0
	CMP  R2, R10
	BNE  result
	NEG  R3, R0
	B    result

split:
	// nr -3 is clone: the new process goes on with the list. This one reads nothing more that it shares, and ends.
	MOVD $SYS_clone, R8
	SVC
	CMP  $0, R0
	BLE  result
	MOVD ZR, R0
	B    exit

fail:
	MOVD R19, (R21)
leave:
	MOVD $127, R0
exit:
	MOVD $SYS_exit_group, R8
	SVC
	BRK
	B    exit
