// Package selection decides which containers a list or a prune is about: the filters of the Engine API.
//
// Start reading at Parse.
package selection

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image"
	"pier/lib/errkind"
)

// Subject is a container as filters see it.
type Subject struct {
	ID, Name string // name without slash
	Created  time.Time
	Life     lifecycle.Container
	Image    digest.Digest
	Config   *container.Config
	// Annotations are those of its host configuration.
	Annotations map[string]string
	Mounts      []settings.Mount
	Health      *container.Health // nil: no health check
	Ports       network.PortMap   // of the present run
	Networks    func() map[string]*network.EndpointSettings
}

// Sources are the outside facts that filters need.
type Sources struct {
	Images *image.Store
	// Created tells when the container ref was created.
	Created func(ref string) (time.Time, error)
}

// Filter says which containers are wanted: every filter must be met, by any of its values (by all, for labels).
type Filter struct {
	running       bool // only those that run
	tests         []func(s *Subject) bool
	before, since time.Time
}

// Match reports whether the container is wanted, and stop that none created before it is.
func (f *Filter) Match(s *Subject) (ok, stop bool) {
	if !f.since.IsZero() && !s.Created.After(f.since) {
		return false, true
	}
	if !f.before.IsZero() && !s.Created.Before(f.before) {
		return false, false
	}
	if f.running && !s.Life.State.Alive() && s.Life.State != lifecycle.Restarting {
		return false, false
	}
	for _, t := range f.tests {
		if !t(s) {
			return false, false
		}
	}
	return true, false
}

// Parse reads the filters of a list. running: only containers that run are wanted, unless a filter speaks of others.
func Parse(filters map[string][]string, running bool, from Sources) (*Filter, error) {
	f := &Filter{running: running}
	for name, values := range filters {
		if len(values) == 0 {
			continue
		}
		test, err := f.one(name, values, from)
		if err != nil {
			return nil, err
		}
		if test != nil {
			f.tests = append(f.tests, test)
		}
	}
	return f, nil
}

// healths are the values of the filter health.
var healths = [...]container.HealthStatus{container.NoHealthcheck, container.Starting, container.Healthy, container.Unhealthy}

func anyOf(values []string, ok func(v string) bool) bool { return slices.ContainsFunc(values, ok) }

func badFilter(name string, values []string) error {
	return errkind.New(errkind.Invalid, "invalid filter '%s=%s'", name, strings.Join(values, ","))
}

func (f *Filter) one(name string, values []string, from Sources) (func(r *Subject) bool, error) {
	switch name {
	case "id":
		return func(r *Subject) bool {
			return anyOf(values, func(v string) bool { return strings.HasPrefix(r.ID, v) })
		}, nil
	case "name":
		return nameFilter(values)
	case "label":
		return func(r *Subject) bool { return hasLabels(r.Config.Labels, values) }, nil
	case "annotation":
		return func(r *Subject) bool { return hasLabels(r.Annotations, values) }, nil
	case "status":
		for _, v := range values {
			if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
				return nil, errkind.New(errkind.Invalid, "invalid filter 'status=%s'", v)
			}
		}
		f.running = false
		return func(r *Subject) bool { return slices.Contains(values, r.Life.State.String()) }, nil
	case "health":
		for _, v := range values {
			if !slices.Contains(healths[:], container.HealthStatus(v)) {
				return nil, errkind.New(errkind.Invalid, "invalid filter 'health=%s': unrecognised filter value for health", v)
			}
		}
		return func(r *Subject) bool {
			status := container.NoHealthcheck
			if h := r.Health; h != nil {
				status = h.Status
			}
			return slices.Contains(values, string(status))
		}, nil
	case "exited":
		codes := make([]int, len(values))
		for i, v := range values {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil, badFilter(name, values)
			}
			codes[i] = n
		}
		f.running = false
		return func(r *Subject) bool {
			return r.Life.State == lifecycle.Exited && r.Life.Ran && slices.Contains(codes, r.Life.ExitCode)
		}, nil
	case "before", "since":
		created, err := from.Created(values[0])
		if err != nil {
			return nil, err
		}
		if name == "before" {
			f.before = created
		} else {
			f.since = created
		}
		f.running = false
		return nil, nil
	case "ancestor":
		return ancestorFilter(values, from.Images), nil
	case "volume":
		return func(r *Subject) bool {
			return anyOf(values, func(v string) bool {
				for _, m := range r.Mounts {
					if m.Name == v || m.Destination == v || m.Source == v {
						return true
					}
				}
				return false
			})
		}, nil
	case "network":
		return func(r *Subject) bool {
			for n, ep := range r.Networks() {
				if anyOf(values, func(v string) bool {
					return n == v || ep != nil && ep.NetworkID != "" && strings.HasPrefix(ep.NetworkID, v)
				}) {
					return true
				}
			}
			return false
		}, nil
	case "publish", "expose":
		return portFilter(name, values)
	case "is-task":
		if len(values) != 1 || values[0] != "true" && values[0] != "false" && values[0] != "1" && values[0] != "0" {
			return nil, badFilter(name, values)
		}
		none := values[0] == "true" || values[0] == "1"
		return func(*Subject) bool { return !none }, nil
	case "isolation": // a word of Windows; here there is only the default
		if values[0] != "default" || len(values) != 1 {
			return nil, badFilter(name, values)
		}
		return func(*Subject) bool { return true }, nil
	}
	return nil, errkind.New(errkind.Invalid, "invalid filter '%s'", name)
}

func nameFilter(values []string) (func(r *Subject) bool, error) {
	var forms []*regexp.Regexp
	for _, v := range values {
		re, err := regexp.Compile(v)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid filter 'name=%s': %w", v, err)
		}
		forms = append(forms, re)
	}
	return func(r *Subject) bool {
		return slices.ContainsFunc(forms, func(re *regexp.Regexp) bool {
			return re.MatchString(r.Name) || re.MatchString("/"+r.Name)
		})
	}, nil
}

// ancestorFilter finds containers of an image, or of one that is built on it: all layers of which they have.
func ancestorFilter(values []string, images *image.Store) func(r *Subject) bool {
	type ancestor struct {
		id  digest.Digest
		top digest.Digest
	}
	var wanted []ancestor
	for _, v := range values {
		if img, err := images.Get(v); err == nil {
			wanted = append(wanted, ancestor{img.ID, img.Chain})
		}
	}
	return func(r *Subject) bool {
		return slices.ContainsFunc(wanted, func(a ancestor) bool {
			if a.id == r.Image {
				return true
			}
			img, err := images.Get(r.Image.String())
			return err == nil && a.top != "" && slices.Contains(img.Layers, a.top)
		})
	}
}

func portFilter(name string, values []string) (func(r *Subject) bool, error) {
	type span struct {
		lo, hi uint16
		proto  network.IPProtocol
	}
	var spans []span
	for _, v := range values {
		pr, err := network.ParsePortRange(v)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid filter '%s=%s': %w", name, v, err)
		}
		if p := pr.Proto(); p != network.TCP && p != network.UDP && p != network.SCTP {
			return nil, errkind.New(errkind.Invalid, "invalid filter '%s=%s': invalid proto: %s", name, v, p)
		}
		spans = append(spans, span{pr.Start(), pr.End(), pr.Proto()})
	}
	in := func(n uint16, proto network.IPProtocol) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return n >= s.lo && n <= s.hi && proto == s.proto })
	}
	return func(r *Subject) bool {
		if name == "expose" {
			for p := range r.Config.ExposedPorts {
				if in(p.Num(), p.Proto()) {
					return true
				}
			}
			return false
		}
		for p, bindings := range r.Ports {
			for _, b := range bindings {
				if n, err := strconv.ParseUint(b.HostPort, 10, 16); err == nil && r.Life.State.Alive() && in(uint16(n), p.Proto()) {
					return true
				}
			}
		}
		return false
	}, nil
}

// hasLabels reports whether every "key" or "key=value" is there.
func hasLabels(labels map[string]string, wanted []string) bool {
	for _, w := range wanted {
		k, v, exact := strings.Cut(w, "=")
		got, ok := labels[k]
		if !ok || exact && got != v {
			return false
		}
	}
	return true
}

// Prune reads prune's filters: until (a point in time, or a duration back from now), label and label!.
func Prune(filters map[string][]string, now time.Time) (func(created time.Time, labels map[string]string) bool, error) {
	var until time.Time
	for name, values := range filters {
		switch name {
		case "label", "label!":
		case "until":
			if len(values) != 1 {
				return nil, errkind.New(errkind.Invalid, "more than one until filter specified")
			}
			t, err := pointInTime(values[0], now)
			if err != nil {
				return nil, err
			}
			until = t
		default:
			return nil, errkind.New(errkind.Invalid, "invalid filter '%s'", name)
		}
	}
	return func(created time.Time, labels map[string]string) bool {
		if !until.IsZero() && created.After(until) || !hasLabels(labels, filters["label"]) {
			return false
		}
		return !anyOf(filters["label!"], func(v string) bool { return hasLabels(labels, []string{v}) })
	}, nil
}

// maxUnix is the last second, counted from 1970, whose nanoseconds fit an int64.
const maxUnix = 1<<63/1e9 - 1

func pointInTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n > -maxUnix && n < maxUnix {
		return time.Unix(0, int64(n*1e9)), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errkind.New(errkind.Invalid, "invalid filter 'until=%s': neither a time nor a duration", s)
}
