package rootfs

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// procFiles may be covered by a bind mount: files that lxcfs and its kin show instead of the kernel's.
var procFiles = map[string]bool{
	"/proc/cpuinfo": true, "/proc/diskstats": true, "/proc/meminfo": true, "/proc/stat": true, "/proc/swaps": true,
	"/proc/uptime": true, "/proc/loadavg": true, "/proc/slabinfo": true, "/proc/net/dev": true,
	"/proc/sys/kernel/ns_last_pid": true, "/proc/sys/crypto/fips_enabled": true,
}

// Check refuses what of a configuration cannot be carried out, before anything is done for it.
func Check(spec *specs.Spec, linux *specs.Linux) error {
	if _, ok := propagations[linux.RootfsPropagation]; !ok {
		return errkind.New(errkind.Invalid, "unknown rootfsPropagation %q", linux.RootfsPropagation)
	}
	for _, list := range [][]string{linux.MaskedPaths, linux.ReadonlyPaths} {
		for _, p := range list {
			if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
				return errkind.New(errkind.Invalid, "masked or read-only path %q is not absolute", p)
			}
		}
	}
	for i := range spec.Mounts {
		if err := checkMount(spec.Mounts[i].Destination, spec.Mounts[i].Type); err != nil {
			return err
		}
	}
	return nil
}

func checkMount(dest, kind string) error {
	if dest == "" || strings.ContainsRune(dest, 0) {
		return errkind.New(errkind.Invalid, "mount destination %q", dest)
	}
	clean := path.Clean("/" + dest)
	switch {
	case clean == "/":
		return errkind.New(errkind.Invalid, "mount destination %s is the root", dest)
	case clean == "/proc" && kind != "proc" && kind != "bind" && kind != "none" && kind != "":
		return errkind.New(errkind.Invalid, "only procfs may be mounted on /proc, not %s", kind)
	case strings.HasPrefix(clean, "/proc/") && !procFiles[clean]:
		return errkind.New(errkind.Invalid, "%s cannot be mounted on because it is inside /proc", dest)
	}
	return nil
}
