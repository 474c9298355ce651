package errkind

import (
	"errors"
	"io/fs"
	"os"
)

// System is what the system said in err, without the names that package os adds to it: those may be a stranger's, and not
// fit for a terminal. nil where no call on a path or on two is in err.
func System(err error) error {
	var one *fs.PathError
	var two *os.LinkError
	switch {
	case errors.As(err, &one):
		return one.Err
	case errors.As(err, &two):
		return two.Err
	}
	return nil
}
