package reaper

const machine = 62 // EM_X86_64

// end follows the code: breakpoints, which the program itself does not have.
var end = []byte{0xcc, 0xcc, 0xcc, 0xcc}
