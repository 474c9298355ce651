// Package mountopts reads the options of the mounts of a runtime configuration (runtime-spec config.md "Mounts").
//
// Start reading at Parse.
package mountopts

import (
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"pier/api/shim"
	"pier/lib/errkind"
)

// Options is what the options of one mount ask for.
type Options struct {
	Bind, Recursive    bool
	Set, Clear         uint64 // MOUNT_ATTR_* of the mount itself
	RecSet, RecClear   uint64 // the same for it and all mounts below ("rro", ...)
	Propagation        uint64 // MS_PRIVATE, ... without MS_REC; 0: none asked for
	PropagateRecursive bool
	Remount            bool
	CopyUp             bool
	Idmap              bool
	IdmapRecursive     bool
	Subpath            string   // of a bind: the part of the source to show, resolved inside it
	Flags              []string // options that every file system has ("sync"); on a bind they mean nothing, as with mount(8)
	Data               []string // what is left: options of the file system
}

// ReadOnly reports whether the mount is to be read-only, by whichever form.
func (o *Options) ReadOnly() bool { return (o.Set|o.RecSet)&unix.MOUNT_ATTR_RDONLY != 0 }

type attrOption struct {
	attr  uint64
	clear bool
}

// attrOptions are the options that change a mount; each has a form with "r" before it for all mounts below as well.
var attrOptions = map[string]attrOption{
	"ro": {unix.MOUNT_ATTR_RDONLY, false}, "rw": {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid": {unix.MOUNT_ATTR_NOSUID, false}, "suid": {unix.MOUNT_ATTR_NOSUID, true},
	"nodev": {unix.MOUNT_ATTR_NODEV, false}, "dev": {unix.MOUNT_ATTR_NODEV, true},
	"noexec": {unix.MOUNT_ATTR_NOEXEC, false}, "exec": {unix.MOUNT_ATTR_NOEXEC, true},
	"noatime": {unix.MOUNT_ATTR_NOATIME, false}, "atime": {unix.MOUNT_ATTR_NOATIME, true},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, false}, "nostrictatime": {unix.MOUNT_ATTR_STRICTATIME, true},
	"nodiratime": {unix.MOUNT_ATTR_NODIRATIME, false}, "diratime": {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false}, "symfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
	"relatime": {unix.MOUNT_ATTR__ATIME, true}, "norelatime": {unix.MOUNT_ATTR__ATIME, true},
}

// nothing are the options that ask for what is so anyway. The kernel no longer has mandatory locks ("mand", Linux 5.15) and
// keeps the version of an inode where a file system wants it ("iversion").
var nothing = map[string]bool{
	"": true, "defaults": true, "async": true, "loud": true, "nomand": true, "mand": true, "silent": true, "iversion": true,
	"noiversion": true, "nolazytime": true,
}

// superblockFlags are those that change a whole file system.
var superblockFlags = map[string]bool{"sync": true, "dirsync": true, "lazytime": true}

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "shared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE,
}

// Parse sorts the options of a mount. "defaults" and the forms that name the kernel's default mean nothing.
func Parse(options []string) (Options, error) {
	var o Options
	for _, option := range options {
		if strings.ContainsRune(option, 0) {
			return o, errkind.New(errkind.Invalid, "mount option %q holds a zero byte", option)
		}
		if nothing[option] {
			continue
		}
		if superblockFlags[option] {
			o.Flags = append(o.Flags, option)
			continue
		}
		switch option {
		case "remount":
			o.Remount = true
			continue
		case "bind":
			o.Bind = true
			continue
		case "rbind":
			o.Bind, o.Recursive = true, true
			continue
		case "tmpcopyup":
			o.CopyUp = true
			continue
		case "idmap", "ridmap":
			o.Idmap, o.IdmapRecursive = true, option == "ridmap"
			continue
		}
		if a, ok := attrOptions[option]; ok {
			apply(&o.Set, &o.Clear, a)
			continue
		}
		if p, ok := propagations[option]; ok {
			o.Propagation, o.PropagateRecursive = p, false
			continue
		}
		if base, ok := strings.CutPrefix(option, "r"); ok {
			if a, ok := attrOptions[base]; ok {
				apply(&o.RecSet, &o.RecClear, a)
				continue
			}
			if p, ok := propagations[base]; ok {
				o.Propagation, o.PropagateRecursive = p, true
				continue
			}
		}
		if sub, ok := strings.CutPrefix(option, shim.SubpathOption); ok {
			o.Subpath = sub
			continue
		}
		o.Data = append(o.Data, option)
	}
	if o.Subpath != "" && !o.Bind {
		return o, errkind.New(errkind.Invalid, "mount option %s%s: only a bind has a subpath", shim.SubpathOption, o.Subpath)
	}
	return o, nil
}

// apply makes a the last word on its attribute.
func apply(set, clear *uint64, a attrOption) {
	const atime = unix.MOUNT_ATTR__ATIME
	mask := a.attr
	if mask&atime != 0 {
		mask = atime
	}
	*set &^= mask
	*clear &^= mask
	if !a.clear {
		*set |= a.attr
	}
	*clear |= mask
	if !a.clear && mask != atime {
		*clear &^= mask
	}
}

// Attr is the kernel's form of a set and a clear mask.
func Attr(set, clear uint64) unix.MountAttr {
	if (set|clear)&unix.MOUNT_ATTR__ATIME != 0 {
		clear |= unix.MOUNT_ATTR__ATIME
	}
	return unix.MountAttr{Attr_set: set, Attr_clr: clear}
}

// Names lists the options that are known, sorted; any other is handed to the file system.
func Names() []string {
	all := []string{"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
	for _, plain := range []map[string]bool{nothing, superblockFlags} {
		for name := range plain {
			if name != "" {
				all = append(all, name)
			}
		}
	}
	for name := range attrOptions {
		all = append(all, name, "r"+name)
	}
	for name := range propagations {
		all = append(all, name, "r"+name)
	}
	sort.Strings(all)
	return all
}
