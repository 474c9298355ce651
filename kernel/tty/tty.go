// Package tty makes pseudo terminals for containers.
//
// A container's terminals belong to its own devpts instance, which the parent makes as a detached mount before the
// container exists: the master is opened through the mount's descriptor and the slave is taken from the master
// (TIOCGPTPEER), so no path inside a container is ever trusted for it. Linux >= 5.2.
//
// Start reading at Open.
package tty

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"pier/kernel/fsroot"
	"pier/kernel/internal/fd"
	"pier/kernel/mount"
	"pier/lib/errkind"
)

// Pair is one pseudo terminal. The owner closes both files.
type Pair struct {
	// Master is non-blocking and fit for the netpoller. Its reads give EIO when the last slave is closed.
	Master *os.File
	// Slave is opened without becoming a controlling terminal.
	Slave *os.File
	// Number is the slave's name in its devpts.
	Number int
}

// Close closes both sides; one that was given away (set to nil) is left alone.
func (p *Pair) Close() {
	for _, f := range []*os.File{p.Master, p.Slave} {
		if f != nil {
			f.Close()
		}
	}
}

// Instance makes a detached devpts of its own with the given mount options, as mount(8) writes them; newinstance is
// always set. The caller closes it.
func Instance(options map[string]string, attrs mount.Attr) (*os.File, error) {
	all := map[string]string{"newinstance": "", "ptmxmode": "0666", "source": "devpts"}
	for k, v := range options {
		all[k] = v
	}
	return mount.Filesystem("devpts", all, attrs)
}

// Open makes a terminal in the devpts instance whose mount is open as devpts.
func Open(devpts *os.File) (*Pair, error) {
	var master int
	err := fd.With(devpts, func(dir int) (err error) {
		master, err = unix.Openat(dir, "ptmx", openFlags|unix.O_NOFOLLOW, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	return pair(master)
}

const openFlags = unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC

// OpenIn makes a terminal in the devpts that a running container has at /dev/pts. Root is the container's root; it and
// everything in it belong to the container, so what is opened is first shown to be the multiplexer of a devpts.
func OpenIn(root *fsroot.Root) (*Pair, error) {
	handle, err := root.OpenFile("/dev/pts/ptmx", fsroot.OPath, 0)
	if err != nil {
		return nil, errkind.New(errkind.Unsupported, "open a terminal in the container: it has no devpts at /dev/pts: %w", err)
	}
	defer handle.Close()
	var master int
	err = fd.With(handle, func(n int) (err error) {
		var fs unix.Statfs_t
		var st unix.Stat_t
		if err := unix.Fstatfs(n, &fs); err != nil {
			return err
		}
		if err := unix.Fstat(n, &st); err != nil {
			return err
		}
		if fs.Type != unix.DEVPTS_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) {
			return errkind.New(errkind.Forbidden, "/dev/pts/ptmx is not the multiplexer of a devpts")
		}
		master, err = unix.Open("/proc/self/fd/"+strconv.Itoa(n), openFlags, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a terminal in the container: %w", err)
	}
	return pair(master)
}

// pair completes a terminal from its master and owns the descriptor.
func pair(master int) (*Pair, error) {
	fail := func(what string, err error) (*Pair, error) {
		unix.Close(master)
		return nil, fmt.Errorf("open a terminal: %s: %w", what, err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return fail("get its number", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fail("unlock it", err)
	}
	slave, err := peer(master)
	if err != nil {
		return fail("open its slave", err)
	}
	return &Pair{
		Master: os.NewFile(uintptr(master), "ptmx"),
		Slave:  os.NewFile(uintptr(slave), "pts/"+strconv.Itoa(int(number))),
		Number: int(number),
	}, nil
}

func peer(master int) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// SetSize sets the size in cells of the terminal that f is a side of; the processes in its foreground get SIGWINCH.
func SetSize(f *os.File, width, height uint16) error {
	size := unix.Winsize{Col: width, Row: height}
	err := fd.With(f, func(n int) error { return unix.IoctlSetWinsize(n, unix.TIOCSWINSZ, &size) })
	if err != nil {
		return fmt.Errorf("resize terminal to %dx%d: %w", width, height, err)
	}
	return nil
}

// Size returns the size in cells of the terminal that f is a side of; what is no terminal is an error.
func Size(f *os.File) (width, height uint16, err error) {
	var size *unix.Winsize
	err = fd.With(f, func(n int) (err error) {
		size, err = unix.IoctlGetWinsize(n, unix.TIOCGWINSZ)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("size of terminal %s: %w", f.Name(), err)
	}
	return size.Col, size.Row, nil
}

// State is how a terminal was set before MakeRaw.
type State struct{ termios unix.Termios }

// MakeRaw hands every byte of terminal f through as it is (cfmakeraw(3)) and returns the former state for Restore. What
// is no terminal is an error.
func MakeRaw(f *os.File) (*State, error) {
	var old unix.Termios
	err := fd.With(f, func(n int) error {
		t, err := unix.IoctlGetTermios(n, unix.TCGETS)
		if err != nil {
			return err
		}
		old = *t
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(n, unix.TCSETS, t)
	})
	if err != nil {
		return nil, fmt.Errorf("make terminal %s raw: %w", f.Name(), err)
	}
	return &State{old}, nil
}

// Restore puts terminal f back into state s.
func Restore(f *os.File, s *State) error {
	return fd.With(f, func(n int) error { return unix.IoctlSetTermios(n, unix.TCSETS, &s.termios) })
}
