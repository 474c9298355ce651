package settings

import "strings"

// Mounted reports whether the clean path name lies at or below one of the mounts' destinations.
func Mounted(mounts []Mount, name string) bool {
	for _, m := range mounts {
		if name == m.Destination || strings.HasPrefix(name, strings.TrimSuffix(m.Destination, "/")+"/") {
			return true
		}
	}
	return false
}
