package settings

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/go-digest"
)

// Mount is one place of a container's file system that is not its own layer. It is part of the container's record.
type Mount struct {
	Type        mount.Type
	Destination string
	// Source is the host path of a bind; for a volume the engine fills in where its content is.
	Source string `json:",omitempty"`
	// Name is the volume's; "" until the engine has made an anonymous one.
	Name      string `json:",omitempty"`
	Anonymous bool   `json:",omitempty"` // made for this container: it may go with it
	Driver    string `json:",omitempty"`
	RW        bool   `json:",omitempty"`
	// Mode is what the user wrote after the second colon, for inspect.
	Mode        string            `json:",omitempty"`
	Propagation mount.Propagation `json:",omitempty"`
	// MakeSource tells to make a bind's missing source a folder.
	MakeSource bool `json:",omitempty"`
	// NonRecursive binds only the source's own file system.
	NonRecursive bool `json:",omitempty"`
	// ReadOnlyTop leaves file systems below a read-only mount as they are.
	ReadOnlyTop bool   `json:",omitempty"`
	NoCopy      bool   `json:",omitempty"` // do not fill an empty volume from the image
	Subpath     string `json:",omitempty"` // of a volume or image, relative and local
	// Image and Chain are what Source, the name of an image, meant when the container was made.
	Image digest.Digest `json:",omitempty"`
	Chain digest.Digest `json:",omitempty"`
	// Options are a tmpfs's mount options.
	Options []string `json:",omitempty"`
	// VolumeLabels and VolumeOptions are those of a volume to be made.
	VolumeLabels  map[string]string `json:",omitempty"`
	VolumeOptions map[string]string `json:",omitempty"`
}

// MountSources are the outside facts that Mounts needs.
type MountSources struct {
	// Exists reports whether a host path exists.
	Exists func(path string) bool
	// From returns the mounts of another container, for volumes-from: see Inherited.
	From func(ref string) ([]Mount, error)
}

// Mounts lists what HostConfig and the image's volumes ask for, sorted so that no mount hides one that follows. Later
// requests win over earlier ones for the same place in this order: volumes-from, binds and mounts, tmpfs, the image's.
func Mounts(h *container.HostConfig, volumes map[string]struct{}, src MountSources) ([]Mount, error) {
	at := map[string]Mount{}
	for _, spec := range h.VolumesFrom {
		if err := volumesFrom(at, spec, src); err != nil {
			return nil, err
		}
	}
	asked := map[string]bool{}
	add := func(m Mount) error {
		if asked[m.Destination] || IsTmpfs(h, m.Destination) {
			return refuse("Duplicate mount point: %s", m.Destination)
		}
		asked[m.Destination] = true
		at[m.Destination] = m
		return nil
	}
	for _, raw := range h.Binds {
		m, err := ParseBind(raw)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, spec := range h.Mounts {
		m, err := ParseMount(spec, src.Exists)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for dest, options := range h.Tmpfs {
		m := Mount{Type: mount.TypeTmpfs, Destination: path.Clean(dest), RW: true, Mode: options}
		if options != "" {
			m.Options = strings.Split(options, ",")
			m.RW = !slices.Contains(m.Options, "ro")
		}
		if err := checkTmpfs(m.Options); err != nil {
			return nil, err
		}
		at[m.Destination] = m
	}
	for dest := range volumes {
		if err := checkTarget(dest); err != nil {
			return nil, err
		}
		dest = path.Clean(dest)
		if _, taken := at[dest]; !taken {
			at[dest] = Mount{Type: mount.TypeVolume, Destination: dest, RW: true, Anonymous: true, Driver: "local"}
		}
	}
	out := make([]Mount, 0, len(at))
	for _, m := range at {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Mount) int {
		if d := strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/"); d != 0 {
			return d
		}
		return strings.Compare(a.Destination, b.Destination)
	})
	return out, nil
}

// IsTmpfs tells whether a place is one of HostConfig.Tmpfs. Those are no mount points in Docker's sense: inspect does not list them, and
// nobody inherits them.
func IsTmpfs(h *container.HostConfig, dest string) bool {
	if _, ok := h.Tmpfs[dest]; ok {
		return true
	}
	for place := range h.Tmpfs {
		if path.Clean(place) == dest {
			return true
		}
	}
	return false
}

// Inherited are those of a container's mounts that volumes-from takes over.
func Inherited(h *container.HostConfig, mounts []Mount) []Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m Mount) bool { return IsTmpfs(h, m.Destination) })
}

func volumesFrom(at map[string]Mount, spec string, src MountSources) error {
	if spec == "" {
		return refuse("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ := strings.Cut(spec, ":")
	o, ok := parseMode(mode)
	if !ok || o.propagation != "" || o.copyGiven {
		return refuse("invalid mode: %s", mode)
	}
	mounts, err := src.From(ref)
	if err != nil {
		return refuse("%w", err)
	}
	for _, m := range mounts {
		m.RW = m.RW && !o.readOnly
		m.Anonymous, m.NoCopy = false, true // they go with the container that they were made for
		at[m.Destination] = m
	}
	return nil
}

type modeOptions struct {
	readOnly, noCopy, copyGiven bool
	propagation                 mount.Propagation
}

// parseMode reads the part after the second colon of -v: at most one word of each group.
func parseMode(mode string) (o modeOptions, ok bool) {
	if mode == "" {
		return o, true
	}
	var rw, label, prop, copying, consistency int
	for w := range strings.SplitSeq(mode, ",") {
		switch {
		case w == "rw" || w == "ro":
			rw++
			o.readOnly = w == "ro"
		case w == "z" || w == "Z":
			label++
		case slices.Contains(mount.Propagations, mount.Propagation(w)):
			prop++
			o.propagation = mount.Propagation(w)
		case w == "nocopy":
			copying++
			o.noCopy, o.copyGiven = true, true
		case w == "consistent" || w == "cached" || w == "delegated":
			consistency++
		default:
			return o, false
		}
	}
	return o, rw <= 1 && label <= 1 && prop <= 1 && copying <= 1 && consistency <= 1
}

// ParseBind reads one -v: [SOURCE:]DESTINATION[:MODE]. A source that is no absolute path is a volume's name.
func ParseBind(raw string) (Mount, error) {
	invalid := func(why error) (Mount, error) {
		if why == nil {
			return Mount{}, refuse("invalid volume specification: '%s'", raw)
		}
		return Mount{}, refuse("invalid volume specification: '%s': %w", raw, why)
	}
	parts := strings.SplitN(raw, ":", 4)
	if parts[0] == "" || len(parts) > 3 || strings.ContainsRune(raw, 0) {
		return invalid(nil)
	}
	m := Mount{Type: mount.TypeVolume, Driver: "local"}
	var o modeOptions
	switch len(parts) {
	case 1:
		m.Destination = parts[0]
	case 2:
		if _, isMode := parseMode(parts[1]); isMode {
			return invalid(nil)
		}
		m.Source, m.Destination = parts[0], parts[1]
	case 3:
		var ok bool
		if o, ok = parseMode(parts[2]); !ok {
			return Mount{}, refuse("invalid mode: %s", parts[2])
		}
		m.Source, m.Destination, m.Mode = parts[0], parts[1], parts[2]
	}
	if path.IsAbs(m.Source) {
		m.Type = mount.TypeBind
	}
	if err := checkTarget(m.Destination); err != nil {
		return invalid(fmt.Errorf("invalid mount config for type %q: %w", m.Type, err))
	}
	m.Destination, m.RW = path.Clean(m.Destination), !o.readOnly
	switch {
	case m.Type == mount.TypeBind:
		m.Driver, m.Source, m.MakeSource = "", path.Clean(m.Source), true
		if m.Propagation = o.propagation; m.Propagation == "" {
			m.Propagation = mount.PropagationRPrivate
		}
		if o.copyGiven {
			return invalid(fmt.Errorf(`invalid mount config for type "bind": field VolumeOptions must not be specified`))
		}
	case o.propagation != "":
		return invalid(fmt.Errorf(`invalid mount config for type "volume": field BindOptions must not be specified`))
	default:
		m.Name, m.Source, m.NoCopy = m.Source, "", o.noCopy
		m.Anonymous = m.Name == ""
		if m.Mode == "" && !m.Anonymous {
			m.Mode = "z" // what Docker shows
		}
	}
	return m, nil
}

// ParseMount reads one --mount. exists may be nil: then a bind's source is not looked for.
func ParseMount(spec mount.Mount, exists func(string) bool) (Mount, error) {
	fail := func(format string, args ...any) (Mount, error) {
		return Mount{}, refuse("invalid mount config for type %q: %w", spec.Type, fmt.Errorf(format, args...))
	}
	if spec.Target == "" {
		return fail("field Target must not be empty")
	}
	if err := checkTarget(spec.Target); err != nil {
		return fail("%w", err)
	}
	if spec.BindOptions != nil && spec.Type != mount.TypeBind {
		return fail("field BindOptions must not be specified")
	}
	if spec.VolumeOptions != nil && spec.Type != mount.TypeVolume {
		return fail("field VolumeOptions must not be specified")
	}
	if spec.ImageOptions != nil && spec.Type != mount.TypeImage {
		return fail("field ImageOptions must not be specified")
	}
	if spec.TmpfsOptions != nil && spec.Type != mount.TypeTmpfs {
		return fail("field TmpfsOptions must not be specified")
	}
	m := Mount{Type: spec.Type, Destination: path.Clean(spec.Target), RW: !spec.ReadOnly}
	switch spec.Type {
	case mount.TypeBind:
		return parseBindMount(m, spec, exists, fail)
	case mount.TypeVolume:
		m.Name, m.Driver, m.Anonymous, m.Mode = spec.Source, "local", spec.Source == "", "z" // the mode is what Docker shows
		if o := spec.VolumeOptions; o != nil {
			m.NoCopy, m.Subpath, m.VolumeLabels = o.NoCopy, o.Subpath, o.Labels
			if d := o.DriverConfig; d != nil {
				if d.Name != "" {
					m.Driver = d.Name
				}
				m.VolumeOptions = d.Options
			}
		}
		if m.Subpath != "" && m.Anonymous {
			return fail("must not set Subpath when using anonymous volumes")
		}
		if m.Subpath != "" && !filepath.IsLocal(m.Subpath) {
			return fail("subpath must be a relative path within the volume")
		}
		if spec.ReadOnly && m.Anonymous {
			return fail("must not set ReadOnly mode when using anonymous volumes")
		}
		return m, nil
	case mount.TypeTmpfs:
		if spec.Source != "" {
			return fail("field Source must not be specified")
		}
		options, err := tmpfsOptions(spec.TmpfsOptions)
		if err != nil {
			return fail("%w", err)
		}
		if m.Options = options; spec.ReadOnly {
			m.Options = append(m.Options, "ro")
		}
		return m, nil
	case mount.TypeImage:
		if spec.Source == "" {
			return fail("field Source must not be empty")
		}
		m.Source, m.RW = spec.Source, false
		if o := spec.ImageOptions; o != nil {
			m.Subpath = o.Subpath
		}
		if m.Subpath != "" && !filepath.IsLocal(m.Subpath) {
			return fail("subpath must be a relative path within the image")
		}
		return m, nil
	case mount.TypeNamedPipe:
		return fail("named pipes are for Windows")
	case mount.TypeCluster:
		return fail("cluster volumes need a swarm")
	}
	return fail("mount type unknown")
}

func parseBindMount(m Mount, spec mount.Mount, exists func(string) bool, fail func(string, ...any) (Mount, error)) (Mount, error) {
	switch {
	case spec.Source == "":
		return fail("field Source must not be empty")
	case !path.IsAbs(spec.Source) || strings.ContainsRune(spec.Source, 0):
		return fail("invalid mount path: '%s' mount path must be absolute", spec.Source)
	}
	m.Source, m.Propagation = path.Clean(spec.Source), mount.PropagationRPrivate
	if o := spec.BindOptions; o != nil {
		if o.Propagation != "" {
			if !slices.Contains(mount.Propagations, o.Propagation) {
				return fail("invalid propagation mode: %s", o.Propagation)
			}
			m.Propagation = o.Propagation
		}
		switch {
		case o.ReadOnlyNonRecursive && !spec.ReadOnly:
			return fail("must set ReadOnly mode when using ReadOnlyNonRecursive")
		case o.ReadOnlyForceRecursive && !spec.ReadOnly:
			return fail("must set ReadOnly mode when using ReadOnlyForceRecursive")
		case o.ReadOnlyForceRecursive && o.ReadOnlyNonRecursive:
			return fail("must not set ReadOnlyNonRecursive when using ReadOnlyForceRecursive")
		case o.ReadOnlyForceRecursive && o.NonRecursive:
			return fail("must not set NonRecursive when using ReadOnlyForceRecursive")
		}
		m.MakeSource, m.NonRecursive, m.ReadOnlyTop = o.CreateMountpoint, o.NonRecursive, o.ReadOnlyNonRecursive
	}
	if exists != nil && !m.MakeSource && !exists(m.Source) {
		return fail("bind source path does not exist: %s", spec.Source)
	}
	return m, nil
}

func tmpfsOptions(o *mount.TmpfsOptions) ([]string, error) {
	var out []string
	if o == nil {
		return nil, nil
	}
	if o.Mode != 0 {
		out = append(out, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes < 0 {
		return nil, fmt.Errorf("invalid size: %d", o.SizeBytes)
	}
	if o.SizeBytes != 0 {
		out = append(out, "size="+strconv.FormatInt(o.SizeBytes, 10))
	}
	for _, opt := range o.Options {
		if len(opt) < 1 || len(opt) > 2 {
			return nil, fmt.Errorf("invalid option array length")
		}
		if opt[0] != "exec" && opt[0] != "noexec" {
			return nil, fmt.Errorf("invalid option: %s", opt[0])
		}
		out = append(out, opt[0])
	}
	return out, nil
}

// The words that --tmpfs takes: flags, and parameters of the file system.
var (
	tmpfsFlags  = []string{"rw", "ro", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "sync", "async", "defaults"}
	tmpfsParams = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"}
)

func checkTmpfs(options []string) error {
	for _, o := range options {
		name, value, given := strings.Cut(o, "=")
		if given && value != "" && slices.Contains(tmpfsParams, name) && !strings.ContainsAny(value, "\n\x00") && checkTmpfsParam(name, value) ||
			!given && (slices.Contains(tmpfsFlags, name) || slices.Contains(mount.Propagations, mount.Propagation(name))) {
			continue
		}
		return refuse("invalid tmpfs option %q", o)
	}
	return nil
}

func checkTarget(p string) error {
	if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
		return refuse("invalid mount path: '%s' mount path must be absolute", p)
	}
	if path.Clean(p) == "/" {
		return refuse("invalid specification: destination can't be '/'")
	}
	return nil
}

// Point is how inspect shows a mount.
func (m Mount) Point() container.MountPoint {
	p := container.MountPoint{Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver,
		Mode: m.Mode, RW: m.RW, Propagation: m.Propagation}
	if m.Type == mount.TypeTmpfs {
		p.Mode = ""
	}
	return p
}
