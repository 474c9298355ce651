package volume

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/mountinfo"

	"pier/kernel/mount"
	"pier/lib/errkind"
)

// source is the file system that a volume's options ask for.
type source struct {
	bind    string // a folder of the host; else
	fstype  string
	options map[string]string
	attrs   mount.Attr
}

// attributes are the words of option "o" that belong to the mount and not to the file system.
func attribute(word string) (mount.Attr, bool) {
	switch word {
	case "ro":
		return mount.ReadOnly, true
	case "nosuid":
		return mount.Nosuid, true
	case "nodev":
		return mount.Nodev, true
	case "noexec":
		return mount.Noexec, true
	case "noatime":
		return mount.Noatime, true
	case "nodiratime":
		return mount.Nodiratime, true
	case "rw", "suid", "dev", "exec", "relatime", "defaults", "":
		return 0, true
	}
	return 0, false
}

// parseOptions reads the options type, device and o of the local driver; nil: a plain folder. The option size is sizeOf's.
func parseOptions(name string, options map[string]string) (*source, error) {
	others := 0
	for key := range options {
		switch key {
		case "type", "device", "o":
			others++
		case sizeOption:
		default:
			return nil, errkind.New(errkind.Invalid, "create %s: invalid option: %q", name, key)
		}
	}
	if others == 0 {
		return nil, nil
	}
	if options["device"] == "" {
		return nil, errkind.New(errkind.Invalid, "create %s: missing device in volume options", name)
	}
	s := &source{fstype: options["type"], options: map[string]string{}}
	bind := s.fstype == "bind"
	for word := range strings.SplitSeq(options["o"], ",") {
		if word == "bind" || word == "rbind" {
			bind = true
			continue
		}
		if a, ok := attribute(word); ok {
			s.attrs |= a
			continue
		}
		key, value, _ := strings.Cut(word, "=")
		s.options[key] = value
	}
	if bind {
		if len(s.options) > 0 {
			return nil, errkind.New(errkind.Invalid, "create %s: a bound folder takes no file system options: %q", name, options["o"])
		}
		if !filepath.IsAbs(options["device"]) {
			return nil, errkind.New(errkind.Invalid, "create %s: device %q is not an absolute path", name, options["device"])
		}
		s.bind = filepath.Clean(options["device"])
		return s, nil
	}
	if s.fstype == "" || s.fstype == "none" || strings.ContainsAny(s.fstype, "/\x00") {
		return nil, errkind.New(errkind.Invalid, "create %s: missing required option: \"type\"", name)
	}
	s.options["source"] = options["device"]
	if addr := s.options["addr"]; addr != "" && strings.HasPrefix(s.fstype, "nfs") {
		if _, err := netip.ParseAddr(addr); err != nil {
			return nil, errkind.New(errkind.Unsupported, "create %s: addr=%s: the file server must be given by its address", name, addr)
		}
	}
	return s, nil
}

// Point is where in its owner a volume is mounted, for the event that tells of it.
type Point struct {
	Destination string // path in the container
	RW          bool
	Propagation string
}

// Mount returns the path of the volume's content for owner, who holds it, and mounts it first where its options ask
// for a file system (type, device, o). Unmount is its opposite; the last one unmounts.
func (v *Volumes) Mount(ctx context.Context, owner, name string, at Point) (string, error) {
	v.mu.Lock()
	one, err := v.find(name)
	v.mu.Unlock()
	if err != nil {
		return "", err
	}
	one.work.Lock()
	defer one.work.Unlock()
	s, err := parseOptions(name, one.Options)
	if err == nil && s != nil {
		err = s.attach(v.path(name))
	}
	if err == nil {
		err = v.checkSize(one)
	}
	if err != nil {
		return "", fmt.Errorf("mount volume %s: %w", name, err)
	}
	v.mu.Lock()
	gone, before := one.gone, one.mounts[owner]
	if !gone {
		one.mounts[owner] = true
	}
	v.mu.Unlock()
	if gone {
		return "", errkind.New(errkind.NotFound, "get %s: no such volume", name)
	}
	if !before {
		v.tell(name, events.ActionMount, "container", owner, "destination", at.Destination,
			"propagation", at.Propagation, "read/write", strconv.FormatBool(at.RW))
	}
	return v.path(name), nil
}

// attach mounts s on path, unless a mount is there: this daemon's, or one that outlived it.
func (s *source) attach(path string) error {
	if there, err := mountinfo.Mounted(path); err != nil || there {
		return err
	}
	if s.bind != "" {
		f, err := mount.OpenTree(s.bind, true)
		if err != nil {
			return err
		}
		defer f.Close()
		if s.attrs != 0 {
			if err := mount.SetAttr(f, true, s.attrs, 0); err != nil {
				return err
			}
		}
		return mount.Attach(f, path)
	}
	f, err := mount.Filesystem(s.fstype, s.options, s.attrs)
	if err != nil {
		return err
	}
	defer f.Close()
	return mount.Attach(f, path)
}

// Unmount ends owner's use of a mounted volume. Without one it does nothing.
func (v *Volumes) Unmount(owner, name string) error {
	v.mu.Lock()
	one := v.byID[name]
	v.mu.Unlock()
	if one == nil {
		return nil
	}
	one.work.Lock()
	defer one.work.Unlock()
	v.mu.Lock()
	used := one.mounts[owner]
	delete(one.mounts, owner)
	last := len(one.mounts) == 0
	v.mu.Unlock()
	if !used {
		return nil
	}
	if last {
		if err := v.unmount(one); err != nil {
			return fmt.Errorf("unmount volume %s: %w", name, err)
		}
	}
	v.tell(name, events.ActionUnmount, "container", owner)
	return nil
}

// unmount takes the file system off a volume whose work lock is held.
func (v *Volumes) unmount(one *volume) error {
	if one.plain() {
		return nil
	}
	there, err := mountinfo.Mounted(v.path(one.name))
	if err != nil || !there {
		return err
	}
	return mount.Unmount(v.path(one.name), true)
}
