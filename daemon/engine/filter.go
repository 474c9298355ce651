package engine

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
	"pier/lib/errkind"
)

// listFilter decides which containers a list shows: every filter must be met, by any of its values (by all, for labels).
type listFilter struct {
	running       bool // only those that run
	tests         []func(c *ctr, r *row) bool
	before, since *row
}

// match reports whether the container is wanted, and stop that none after it is.
func (f *listFilter) match(c *ctr, r *row) (ok, stop bool) {
	if f.since != nil && !r.Created.After(f.since.Created) {
		return false, true
	}
	if f.before != nil && !r.Created.Before(f.before.Created) {
		return false, false
	}
	if f.running && !r.Life.State.Alive() && r.Life.State != lifecycle.Restarting {
		return false, false
	}
	for _, t := range f.tests {
		if !t(c, r) {
			return false, false
		}
	}
	return true, false
}

func (e *Engine) listFilter(o ListOptions) (*listFilter, error) {
	f := &listFilter{running: !o.All && o.Limit <= 0}
	for name, values := range o.Filters {
		if len(values) == 0 {
			continue
		}
		test, err := e.oneFilter(f, name, values)
		if err != nil {
			return nil, err
		}
		if test != nil {
			f.tests = append(f.tests, test)
		}
	}
	return f, nil
}

func anyOf(values []string, ok func(v string) bool) bool { return slices.ContainsFunc(values, ok) }

func badFilter(name string, values []string) error {
	return errkind.New(errkind.Invalid, "invalid filter '%s=%s'", name, strings.Join(values, ","))
}

func (e *Engine) oneFilter(f *listFilter, name string, values []string) (func(c *ctr, r *row) bool, error) {
	switch name {
	case "id":
		return func(_ *ctr, r *row) bool {
			return anyOf(values, func(v string) bool { return strings.HasPrefix(r.ID, v) })
		}, nil
	case "name":
		return nameFilter(values)
	case "label":
		return func(_ *ctr, r *row) bool { return hasLabels(r.Config.Labels, values) }, nil
	case "status":
		for _, v := range values {
			if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
				return nil, errkind.New(errkind.Invalid, "invalid filter 'status=%s'", v)
			}
		}
		f.running = false
		return func(_ *ctr, r *row) bool { return slices.Contains(values, r.Life.State.String()) }, nil
	case "health":
		return func(c *ctr, _ *row) bool {
			status := container.NoHealthcheck
			if h := c.health.Load(); h != nil {
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
		return func(_ *ctr, r *row) bool {
			return r.Life.State == lifecycle.Exited && r.Life.Ran && slices.Contains(codes, r.Life.ExitCode)
		}, nil
	case "before", "since":
		c, err := e.index.find(values[0])
		if err != nil {
			return nil, err
		}
		if name == "before" {
			f.before = c.row()
		} else {
			f.since = c.row()
		}
		f.running = false
		return nil, nil
	case "ancestor":
		return e.ancestorFilter(values), nil
	case "volume":
		return func(_ *ctr, r *row) bool {
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
		return func(_ *ctr, r *row) bool {
			for n, ep := range r.networkNames() {
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
		return func(*ctr, *row) bool { return !none }, nil
	case "isolation":
		return func(*ctr, *row) bool { return true }, nil
	}
	return nil, errkind.New(errkind.Invalid, "invalid filter '%s'", name)
}

func nameFilter(values []string) (func(c *ctr, r *row) bool, error) {
	var forms []*regexp.Regexp
	for _, v := range values {
		re, err := regexp.Compile(v)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid filter 'name=%s': %w", v, err)
		}
		forms = append(forms, re)
	}
	return func(_ *ctr, r *row) bool {
		return slices.ContainsFunc(forms, func(re *regexp.Regexp) bool {
			return re.MatchString(r.Name) || re.MatchString("/"+r.Name)
		})
	}, nil
}

// ancestorFilter finds containers of an image, or of one that is built on it: all layers of which they have.
func (e *Engine) ancestorFilter(values []string) func(c *ctr, r *row) bool {
	type ancestor struct {
		id  digest.Digest
		top digest.Digest
	}
	var wanted []ancestor
	for _, v := range values {
		if img, err := e.o.Images.Get(v); err == nil {
			wanted = append(wanted, ancestor{img.ID, img.Chain})
		}
	}
	return func(_ *ctr, r *row) bool {
		return slices.ContainsFunc(wanted, func(a ancestor) bool {
			if a.id == r.Image {
				return true
			}
			img, err := e.o.Images.Get(r.Image.String())
			return err == nil && a.top != "" && slices.Contains(img.Layers, a.top)
		})
	}
}

func portFilter(name string, values []string) (func(c *ctr, r *row) bool, error) {
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
		spans = append(spans, span{pr.Start(), pr.End(), pr.Proto()})
	}
	in := func(n uint16, proto network.IPProtocol) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return n >= s.lo && n <= s.hi && proto == s.proto })
	}
	return func(_ *ctr, r *row) bool {
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

// pruneFilter reads prune's filters: until (a point in time, or a duration back from now), label and label!.
func pruneFilter(filters Filters, now time.Time) (func(r *row) bool, error) {
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
	return func(r *row) bool {
		if !until.IsZero() && r.Created.After(until) || !hasLabels(r.Config.Labels, filters["label"]) {
			return false
		}
		return !anyOf(filters["label!"], func(v string) bool { return hasLabels(r.Config.Labels, []string{v}) })
	}, nil
}

func pointInTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Unix(0, int64(n*1e9)), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errkind.New(errkind.Invalid, "invalid filter 'until=%s': neither a time nor a duration", s)
}
