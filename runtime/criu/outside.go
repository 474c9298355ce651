package criu

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"pier/lib/errkind"
)

// process is the first process of a container, as /proc shows it. It is held still by nobody: what is read here can be old
// by the time criu looks, which then refuses.
type process int

func (p process) path(name string) string { return fmt.Sprintf("/proc/%d/%s", int(p), name) }

// namespace returns what the link of one of its namespaces says: "net:[4026531840]".
func (p process) namespace(kind string) (string, error) { return os.Readlink(p.path("ns/" + kind)) }

// mounts returns its table of mounts.
func (p process) mounts() ([]*mountinfo.Info, error) {
	f, err := os.Open(p.path("mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(f, nil)
}

type device struct{ major, minor int }

// made are the file systems that belong to the container's namespaces or that criu makes anew: who has mounted one on
// the host as well does not matter.
var made = []string{"proc", "sysfs", "mqueue"}

// outer returns the mount points of what comes from outside: file systems that the host has mounted too, and parts of such
// as nobody in the container has whole. Control groups are ours to show.
func outer(all, host []*mountinfo.Info) (points []string, err error) {
	there := map[device]bool{}
	for _, m := range host {
		there[device{m.Major, m.Minor}] = true
	}
	whole := map[device]bool{}
	for _, m := range all {
		if m.Root == "/" {
			whole[device{m.Major, m.Minor}] = true
		}
	}
	top := device{}
	for _, m := range all {
		d := device{m.Major, m.Minor}
		if m.Mountpoint == "/" {
			top = d // a part of the root that is bound elsewhere in it; what is below counts as such, if the host has it or not
			continue
		}
		foreign := there[d] || !whole[d] && d != top
		if slices.Contains(made, m.FSType) && m.Root == "/" || slices.Contains(points, m.Mountpoint) {
			continue
		}
		if foreign || m.FSType == "cgroup" || m.FSType == "cgroup2" {
			if !strings.HasPrefix(m.Mountpoint, "/") {
				return nil, errkind.New(errkind.Unsupported, "the mount point %q is out of the container's root", m.Mountpoint)
			}
			points = append(points, m.Mountpoint)
		}
	}
	return points, nil
}

// stream is one open file of a process: its name for criu if it comes from outside, else "".
func (p process) stream(n int, inside map[int]bool) (string, error) {
	link, err := os.Readlink(p.path("fd/" + strconv.Itoa(n)))
	if os.IsNotExist(err) {
		return "", nil // closed
	}
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(link, "/") {
		if strings.HasPrefix(link, "pipe:") || strings.HasPrefix(link, "socket:") {
			return link, nil
		}
		return "", nil
	}
	info, err := os.Open(p.path("fdinfo/" + strconv.Itoa(n)))
	if err != nil {
		return "", err
	}
	defer info.Close()
	mount, inode, err := parseFdinfo(info)
	if err != nil || inside[mount] {
		return "", err
	}
	return fmt.Sprintf("file[%x:%x]", mount, inode), nil
}

// parseFdinfo finds the mount and the inode of a file (Linux >= 5.14).
func parseFdinfo(r io.Reader) (mount int, inode uint64, err error) {
	for s := bufio.NewScanner(io.LimitReader(r, 64<<10)); s.Scan(); {
		key, value, _ := bytes.Cut(s.Bytes(), []byte{':'})
		text := strings.TrimSpace(string(value))
		switch string(key) {
		case "mnt_id":
			mount, err = strconv.Atoi(text)
		case "ino":
			inode, err = strconv.ParseUint(text, 10, 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	if mount == 0 || inode == 0 {
		return 0, 0, errkind.New(errkind.Unsupported, "the kernel does not tell where an open file lies: it needs Linux 5.14")
	}
	return mount, inode, nil
}

// survey finds what in a container comes from outside.
func survey(p process, terminal bool) (*manifest, error) {
	m := &manifest{Version: manifestVersion, Terminal: terminal}
	all, err := p.mounts()
	if err != nil {
		return nil, err
	}
	host, err := process(os.Getpid()).mounts()
	if err != nil {
		return nil, err
	}
	if m.Mounts, err = outer(all, host); err != nil {
		return nil, err
	}
	inside := map[int]bool{}
	for _, i := range all {
		inside[i.ID] = true
	}
	for n := range m.Streams {
		if m.Streams[n], err = p.stream(n, inside); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// apart fails for a process in namespaces with which criu cannot do what it should.
func apart(p process) error {
	own := func(kind string) (bool, error) {
		theirs, err := p.namespace(kind)
		if err != nil {
			return false, err
		}
		ours, err := process(os.Getpid()).namespace(kind)
		return theirs != ours, err
	}
	for _, kind := range []string{"pid", "mnt"} {
		if is, err := own(kind); err != nil {
			return err
		} else if !is {
			return errkind.New(errkind.Unsupported, "it shares the host's %s namespace: what is in it could not be made again", kind)
		}
	}
	if is, err := own("user"); err != nil {
		return err
	} else if is {
		return errkind.New(errkind.Unsupported, "it has a user namespace, which could not be restored")
	}
	return nil
}
