package settings

import units "github.com/docker/go-units"

// StorageSize is how many bytes the container's own file system may take by --storage-opt, 0 for no limit.
func StorageSize(options map[string]string) (int64, error) {
	var size int64
	for k, v := range options {
		if k != "size" {
			return 0, refuse("unknown storage option %q: the only one is size", k)
		}
		var err error
		if size, err = units.RAMInBytes(v); err != nil || size <= 0 {
			return 0, refuse("invalid storage option size=%q: want a number of bytes, with a unit or without", v)
		}
	}
	return size, nil
}
