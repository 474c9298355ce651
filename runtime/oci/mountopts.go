package oci

import (
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"pier/api/shim"
	"pier/lib/errkind"
)

// mountOptions is what the options of one specs.Mount ask for (runtime-spec config.md "Mounts").
type mountOptions struct {
	bind, recursive    bool
	set, clear         uint64 // MOUNT_ATTR_* of the mount itself
	recSet, recClear   uint64 // the same for it and all mounts below ("rro", ...)
	propagation        uint64 // MS_PRIVATE, ... without MS_REC; 0: none asked for
	propagateRecursive bool
	remount            bool
	copyUp             bool
	idmap              bool
	idmapRecursive     bool
	subpath            string   // of a bind: the part of the source to show, resolved inside it
	flags              []string // options that every file system has ("sync"); on a bind they mean nothing, as with mount(8)
	data               []string // what is left: options of the file system
}

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

// parseMountOptions sorts the options of a mount. "defaults" and the forms that name the kernel's default mean nothing.
func parseMountOptions(options []string) (mountOptions, error) {
	var o mountOptions
	for _, option := range options {
		if strings.ContainsRune(option, 0) {
			return o, errkind.New(errkind.Invalid, "mount option %q holds a zero byte", option)
		}
		if nothing[option] {
			continue
		}
		if superblockFlags[option] {
			o.flags = append(o.flags, option)
			continue
		}
		switch option {
		case "remount":
			o.remount = true
			continue
		case "bind":
			o.bind = true
			continue
		case "rbind":
			o.bind, o.recursive = true, true
			continue
		case "tmpcopyup":
			o.copyUp = true
			continue
		case "idmap", "ridmap":
			o.idmap, o.idmapRecursive = true, option == "ridmap"
			continue
		}
		if a, ok := attrOptions[option]; ok {
			apply(&o.set, &o.clear, a)
			continue
		}
		if p, ok := propagations[option]; ok {
			o.propagation, o.propagateRecursive = p, false
			continue
		}
		if base, ok := strings.CutPrefix(option, "r"); ok {
			if a, ok := attrOptions[base]; ok {
				apply(&o.recSet, &o.recClear, a)
				continue
			}
			if p, ok := propagations[base]; ok {
				o.propagation, o.propagateRecursive = p, true
				continue
			}
		}
		if sub, ok := strings.CutPrefix(option, shim.SubpathOption); ok {
			o.subpath = sub
			continue
		}
		o.data = append(o.data, option)
	}
	if o.subpath != "" && !o.bind {
		return o, errkind.New(errkind.Invalid, "mount option %s%s: only a bind has a subpath", shim.SubpathOption, o.subpath)
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

// attr is the kernel's form of a set and a clear mask.
func attr(set, clear, propagation uint64) unix.MountAttr {
	if (set|clear)&unix.MOUNT_ATTR__ATIME != 0 {
		clear |= unix.MOUNT_ATTR__ATIME
	}
	return unix.MountAttr{Attr_set: set, Attr_clr: clear, Propagation: propagation}
}

// MountOptions lists the mount options that are known, sorted; any other is handed to the file system.
func MountOptions() []string {
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
