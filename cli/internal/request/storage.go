package request

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// storage reads --volume, --mount and --tmpfs.
func (f *Container) storage(config *container.Config, host *container.HostConfig, env func(string) string) error {
	for _, v := range f.volumes {
		parts := strings.Split(v, ":")
		if len(parts) == 1 { // an anonymous volume
			if !strings.HasPrefix(v, "/") {
				return invalid("invalid volume specification: %q: mount path must be absolute", v)
			}
			if config.Volumes == nil {
				config.Volumes = map[string]struct{}{}
			}
			config.Volumes[v] = struct{}{}
			continue
		}
		if len(parts) > 3 {
			return invalid("invalid volume specification: %q: expected [SOURCE:]TARGET[:OPTIONS]", v)
		}
		// A path relative to the working folder is a convenience of the client; the API only takes absolute ones.
		if s := parts[0]; s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "~/") {
			if rest, home := strings.CutPrefix(s, "~/"); home {
				s = filepath.Join(env("HOME"), rest)
			}
			absolute, err := filepath.Abs(s)
			if err != nil {
				return err
			}
			parts[0] = absolute
		}
		if bind := strings.Join(parts, ":"); !slices.Contains(host.Binds, bind) { // said twice is said once, as with docker
			host.Binds = append(host.Binds, bind)
		}
	}
	for _, t := range f.tmpfs {
		if host.Tmpfs == nil {
			host.Tmpfs = map[string]string{}
		}
		path, options, _ := strings.Cut(t, ":")
		host.Tmpfs[path] = options
	}
	for _, m := range f.mounts {
		parsed, err := parseMount(m)
		if err != nil {
			return err
		}
		host.Mounts = append(host.Mounts, parsed)
	}
	return nil
}

// parseMount reads the comma-separated fields of --mount.
func parseMount(s string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeVolume}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return m, invalid("invalid argument %q for --mount: %w", s, err)
	}
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if err := mountField(&m, key, value, hasValue); err != nil {
			return m, invalid("invalid argument %q for --mount: %w", s, err)
		}
	}
	switch {
	case m.Target == "":
		return m, invalid("invalid argument %q for --mount: target is required", s)
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return m, invalid("cannot mix 'volume-*' options with mount type '%s'", m.Type)
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return m, invalid("cannot mix 'bind-*' options with mount type '%s'", m.Type)
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return m, invalid("cannot mix 'tmpfs-*' options with mount type '%s'", m.Type)
	}
	return m, nil
}

func mountField(m *mount.Mount, key, value string, hasValue bool) error {
	truth := func() (bool, error) {
		if !hasValue {
			return true, nil
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return false, invalid("invalid value for %s: %s", key, value)
		}
		return on, nil
	}
	switch key { // the fields that may stand alone
	case "readonly", "ro":
		on, err := truth()
		m.ReadOnly = on
		return err
	case "volume-nocopy":
		on, err := truth()
		volumeOptions(m).NoCopy = on
		return err
	case "bind-nonrecursive":
		on, err := truth()
		bindOptions(m).NonRecursive = on
		return err
	}
	if !hasValue {
		return invalid("invalid field '%s' must be a key=value pair", key)
	}
	switch key {
	case "type":
		m.Type = mount.Type(strings.ToLower(value))
	case "source", "src":
		m.Source = value
		if strings.HasPrefix(value, "."+string(filepath.Separator)) || value == "." {
			absolute, err := filepath.Abs(value)
			if err != nil {
				return err
			}
			m.Source = absolute
		}
	case "target", "dst", "destination":
		m.Target = value
	case "consistency":
		m.Consistency = mount.Consistency(strings.ToLower(value))
	case "bind-propagation":
		bindOptions(m).Propagation = mount.Propagation(strings.ToLower(value))
	case "bind-recursive":
		return bindRecursive(bindOptions(m), value)
	case "volume-subpath":
		volumeOptions(m).Subpath = value
	case "volume-driver":
		volumeDriver(m).Name = value
	case "volume-opt":
		d := volumeDriver(m)
		k, v, _ := strings.Cut(value, "=")
		if d.Options == nil {
			d.Options = map[string]string{}
		}
		d.Options[k] = v
	case "volume-label":
		o := volumeOptions(m)
		k, v, _ := strings.Cut(value, "=")
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[k] = v
	case "image-subpath":
		if m.ImageOptions == nil {
			m.ImageOptions = &mount.ImageOptions{}
		}
		m.ImageOptions.Subpath = value
	case "tmpfs-size":
		n, err := byteCount("mount tmpfs-size", value)
		if err != nil {
			return err
		}
		tmpfsOptions(m).SizeBytes = n
	case "tmpfs-mode":
		n, err := strconv.ParseUint(value, 8, 32)
		if err != nil {
			return invalid("invalid value for %s: %s", key, value)
		}
		tmpfsOptions(m).Mode = os.FileMode(n)
	default:
		return invalid("unexpected key '%s' in '%s=%s'", key, key, value)
	}
	return nil
}

func bindRecursive(o *mount.BindOptions, value string) error {
	switch value {
	case "enabled":
	case "disabled":
		o.NonRecursive = true
	case "writable":
		o.ReadOnlyNonRecursive = true
	case "readonly":
		o.ReadOnlyForceRecursive = true
	default:
		return invalid("invalid value for bind-recursive: %s: must be enabled, disabled, writable or readonly", value)
	}
	return nil
}

func bindOptions(m *mount.Mount) *mount.BindOptions {
	if m.BindOptions == nil {
		m.BindOptions = &mount.BindOptions{}
	}
	return m.BindOptions
}

func volumeOptions(m *mount.Mount) *mount.VolumeOptions {
	if m.VolumeOptions == nil {
		m.VolumeOptions = &mount.VolumeOptions{}
	}
	return m.VolumeOptions
}

func volumeDriver(m *mount.Mount) *mount.Driver {
	o := volumeOptions(m)
	if o.DriverConfig == nil {
		o.DriverConfig = &mount.Driver{}
	}
	return o.DriverConfig
}

func tmpfsOptions(m *mount.Mount) *mount.TmpfsOptions {
	if m.TmpfsOptions == nil {
		m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	return m.TmpfsOptions
}
