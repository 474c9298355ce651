package terminal

import (
	"golang.org/x/term"
)

// Of returns the descriptor of a stream that is a terminal: a file, or what stands in front of one and has its Fd.
func Of(stream any) (int, bool) {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	fd := int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// Size is a terminal's size in cells, height first, or zeros where stream is none.
func Size(stream any) [2]uint {
	if fd, ok := Of(stream); ok {
		if width, height, err := term.GetSize(fd); err == nil && width > 0 && height > 0 {
			return [2]uint{uint(height), uint(width)}
		}
	}
	return [2]uint{}
}
