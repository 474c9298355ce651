package oci

import (
	"strings"
	"testing"
)

// What a container sees of itself, with everything that Docker gives by default.
func TestStartDefaults(t *testing.T) {
	c := testContainer(t, "sh", "-c", `
cat /proc/self/status; echo pid $$; hostname; cat /proc/mounts; cat /proc/self/cgroup; ls -l /dev /proc/self/fd; ip link; id; ls /sys/fs/cgroup; cat /proc/keys`)
	out, status := output(t, c)
	t.Log(out, status)
	_ = strings.Contains
}
