package cgroup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// refuse names what is asked for and no control group of this machine limits, rather than to leave it out.
func (c *Cgroup) refuse(r *specs.LinuxResources) error {
	type wish struct {
		name       string
		given      bool
		controller string // of v1, "" where the kernel has none any more
	}
	var wishes []wish
	if m := r.Memory; m != nil {
		wishes = append(wishes, wish{"memory.kernel", value(m.Kernel) > 0, ""}, wish{"memory.kernelTCP", value(m.KernelTCP) > 0, ""})
	}
	if b := r.BlockIO; b != nil {
		leaf := value(b.LeafWeight) > 0
		for _, d := range b.WeightDevice {
			leaf = leaf || value(d.LeafWeight) > 0
		}
		wishes = append(wishes, wish{"blockIO.leafWeight", leaf, ""})
	}
	if n := r.Network; n != nil {
		wishes = append(wishes, wish{"network.classID", value(n.ClassID) > 0, "net_cls"}, wish{"network.priorities", len(n.Priorities) > 0, "net_prio"})
	}
	if !c.unified { // of v2 the kernel says so itself
		wishes = append(wishes, wish{"hugepageLimits", len(r.HugepageLimits) > 0, "hugetlb"}, wish{"rdma", len(r.Rdma) > 0, "rdma"})
	}
	for _, w := range wishes {
		if !w.given {
			continue
		}
		switch _, mounted := c.manager.GetPaths()[w.controller]; {
		case w.controller == "":
			return errkind.New(errkind.Unsupported, "linux.resources.%s: Linux has no such limit any more; remove it", w.name)
		case c.unified:
			return errkind.New(errkind.Unsupported, "linux.resources.%s: cgroup v2 has no such limit; remove it", w.name)
		case !mounted:
			return errkind.New(errkind.Unsupported, "linux.resources.%s: the controller %s is not mounted on this machine; mount it, or remove the limit", w.name, w.controller)
		}
	}
	return nil
}
