package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"pier/api/docker"
	"pier/lib/errkind"
)

// eventFilters are the filters of GET /events.
var eventFilters = []string{"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
	"scope", "secret", "service", "type", "volume", "builder"}

// checkEventFilters refuses values that no event has.
func checkEventFilters(f docker.Filters) error {
	types := []events.Type{events.BuilderEventType, events.ConfigEventType, events.ContainerEventType, events.DaemonEventType,
		events.ImageEventType, events.NetworkEventType, events.NodeEventType, events.PluginEventType, events.SecretEventType,
		events.ServiceEventType, events.VolumeEventType}
	for _, v := range f["type"] {
		if !slices.Contains(types, events.Type(v)) {
			return errkind.New(errkind.Invalid, "invalid filter 'type=%s'", v)
		}
	}
	for _, v := range f["scope"] {
		if v != "local" && v != "swarm" {
			return errkind.New(errkind.Invalid, "invalid filter 'scope=%s'", v)
		}
	}
	return nil
}

// events serves GET /events: what the journal still remembers since an instant, then what comes, until another one or
// until the client goes.
func (s *Server) events(w http.ResponseWriter, r *request) error {
	now := time.Now()
	since, err := r.timestamp("since", now)
	if err != nil {
		return err
	}
	until, err := r.timestamp("until", now)
	if err != nil {
		return err
	}
	if !until.IsZero() && since.After(until) {
		return errkind.New(errkind.Invalid, "`since` time (%s) cannot be after `until` time (%s)", r.arg("since"), r.arg("until"))
	}
	f, err := r.filters(eventFilters...)
	if err != nil {
		return err
	}
	if err := checkEventFilters(f); err != nil {
		return err
	}
	ctx, stop := s.following(r)
	defer stop()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	reader := s.o.Events.Tail()
	if r.arg("since") != "" || !until.IsZero() && until.Before(now) {
		reader = s.o.Events.Since(since)
	}
	defer reader.Close()
	s.listeners.Add(1)
	defer s.listeners.Add(-1)

	contentType, separator := eventsType(r)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	out := newFlushWriter(w)
	_, _ = out.Write(nil) // the client waits for the header
	for {
		m, ok := reader.TryNext()
		if !ok {
			if m, err = reader.Next(ctx); err != nil {
				if until.IsZero() || time.Now().Before(until) { // else it is whole
					s.cutOff(ctx)
				}
				return nil
			}
		}
		at := time.Unix(0, m.TimeNano)
		if at.Before(since) || !until.IsZero() && at.After(until) || !eventMatches(f, m) {
			continue
		}
		line, err := json.Marshal(legacyEvent(r.version, m))
		if err != nil {
			return nil
		}
		if _, err := io.WriteString(out, separator+string(line)+"\n"); err != nil {
			return nil
		}
	}
}

// sayPruned tells of a prune, which is about no object but about a kind of them.
func (s *Server) sayPruned(kind events.Type, reclaimed uint64) {
	now := time.Now()
	s.o.Events.Publish(events.Message{
		Type: kind, Action: events.ActionPrune, Actor: events.Actor{Attributes: map[string]string{"reclaimed": strconv.FormatUint(reclaimed, 10)}},
		Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
	})
}

// eventsType picks the form of the stream that the client asked for: always JSON lines, in a JSON sequence with a
// record separator (RFC 7464) before each.
func eventsType(r *request) (contentType, separator string) {
	accept := r.Header.Get("Accept")
	for _, t := range []string{types.MediaTypeJSONLines, types.MediaTypeNDJSON} {
		if strings.Contains(accept, t) {
			return t, ""
		}
	}
	if strings.Contains(accept, types.MediaTypeJSONSequence) {
		return types.MediaTypeJSONSequence, "\x1e"
	}
	return types.MediaTypeJSON, ""
}

// eventMatches decides whether the filters let an event through.
func eventMatches(f docker.Filters, m events.Message) bool {
	for name, wanted := range f {
		if !anyOf(wanted, func(v string) bool { return eventHas(name, v, m) }) {
			return false
		}
	}
	return true
}

func eventHas(filter, value string, m events.Message) bool {
	switch filter {
	case "event":
		action, _, _ := strings.Cut(string(m.Action), ":") // "exec_create: sh" is an exec_create
		return string(m.Action) == value || action == value
	case "type":
		return string(m.Type) == value
	case "scope":
		return m.Scope == value
	case "label":
		key, want, exact := strings.Cut(value, "=")
		got, ok := m.Actor.Attributes[key]
		return ok && (!exact || got == want)
	case "image":
		name := m.Actor.Attributes["image"]
		if m.Type == events.ImageEventType {
			name = m.Actor.Attributes["name"]
		}
		return (m.Type == events.ImageEventType && (strings.HasPrefix(m.Actor.ID, value) || strings.HasPrefix(m.Actor.ID, "sha256:"+value))) ||
			name == value || stripTag(name) == value
	default: // the name of an object's type: its ID, the beginning of one, or its name
		return string(m.Type) == filter && (strings.HasPrefix(m.Actor.ID, value) || m.Actor.Attributes["name"] == value)
	}
}

// stripTag takes ":tag" off a name.
func stripTag(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

func anyOf[T any](values []T, ok func(T) bool) bool {
	for _, v := range values {
		if ok(v) {
			return true
		}
	}
	return len(values) == 0
}
