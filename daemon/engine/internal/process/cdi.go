package process

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"pier/lib/errkind"
)

// cdiDriver is the driver of a request whose devices are names of the Container Device Interface.
const cdiDriver = "cdi"

// InjectDevices changes s as the host's CDI descriptions in dirs say of the devices that were asked for: nodes, mounts,
// environment, hooks. A request for GPUs (--gpus) means devices of the vendor's class "gpu". A device that nobody
// describes is Invalid, by name.
func InjectDevices(s *specs.Spec, requests []container.DeviceRequest, dirs []string) error {
	if len(requests) == 0 {
		return nil
	}
	known, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return errkind.New(errkind.Internal, "read descriptions of devices: %w", err)
	}
	var names []string
	for _, r := range requests {
		list, err := deviceNames(r, known, dirs)
		if err != nil {
			return err
		}
		names = append(names, list...)
	}
	if _, err := known.InjectDevices(s, names...); err != nil {
		return errkind.New(errkind.Invalid, "CDI device injection failed: %w%s", err, damaged(known, dirs))
	}
	return nil
}

// damaged tells of descriptions that could not be read: a device may be missing because of them.
func damaged(known *cdi.Cache, dirs []string) string {
	all := known.GetErrors()
	for _, file := range slices.Sorted(maps.Keys(all)) {
		if errs := all[file]; len(errs) > 0 && slices.Contains(dirs, filepath.Dir(file)) {
			return fmt.Sprintf(" (%s cannot be read: %v)", file, errs[0])
		}
	}
	return ""
}

func deviceNames(r container.DeviceRequest, known *cdi.Cache, dirs []string) ([]string, error) {
	if r.Driver == cdiDriver {
		if r.Count != 0 || len(r.DeviceIDs) == 0 {
			return nil, errkind.New(errkind.Invalid, "invalid device request: the driver %q wants names of devices", r.Driver)
		}
		return r.DeviceIDs, nil
	}
	kinds := gpuKinds(r)
	if len(kinds) == 0 {
		return nil, errkind.New(errkind.Invalid, "could not select device driver %q with capabilities: %v: only GPUs of nvidia or amd are found by a capability "+
			"(gpu); name other devices (--device vendor/class=name)", r.Driver, r.Capabilities)
	}
	described := func(kind string) bool {
		return slices.ContainsFunc(known.ListDevices(), func(name string) bool { return strings.HasPrefix(name, kind+"=") })
	}
	i := slices.IndexFunc(kinds, described)
	if i < 0 {
		return nil, errkind.New(errkind.Invalid, "could not select device driver %q with capabilities: %v: no device of the kind %s is described (CDI) in %s; "+
			"the vendor's toolkit writes the description%s", r.Driver, r.Capabilities, strings.Join(kinds, " or "), strings.Join(dirs, " or "), damaged(known, dirs))
	}
	kind := kinds[i]
	if r.Count != 0 && len(r.DeviceIDs) > 0 {
		return nil, errkind.New(errkind.Invalid, "cannot set both Count and DeviceIDs on device request")
	}
	ids := r.DeviceIDs
	if r.Count < 0 {
		ids = []string{"all"}
	}
	if there := len(known.ListDevices()); r.Count > there { // the request's number is bounded before it is counted up to
		return nil, errkind.New(errkind.Invalid, "%d devices of %s are asked for: descriptions of %d devices are installed", r.Count, kind, there)
	}
	for i := range r.Count {
		ids = append(ids, strconv.Itoa(i))
	}
	var names []string
	for _, id := range ids {
		names = append(names, kind+"="+id)
	}
	return names, nil
}

// gpuKinds are the vendors and classes of devices that a request for GPUs may mean, the preferred first; none for another
// request.
func gpuKinds(r container.DeviceRequest) (kinds []string) {
	if !slices.ContainsFunc(r.Capabilities, func(all []string) bool { return slices.Contains(all, "gpu") }) {
		return nil
	}
	for _, kind := range []string{"nvidia.com/gpu", "amd.com/gpu"} {
		if vendor, _, _ := strings.Cut(kind, "."); r.Driver == "" || r.Driver == vendor {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
