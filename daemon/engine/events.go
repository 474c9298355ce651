package engine

import (
	"maps"

	"github.com/moby/moby/api/types/events"
)

// say publishes one event of a container, with its labels, image and name and what more belongs to the action.
func (e *Engine) say(c *ctr, action events.Action, more map[string]string) {
	r := c.row()
	attributes := make(map[string]string, len(r.Config.Labels)+len(more)+2)
	maps.Copy(attributes, r.Config.Labels)
	attributes["image"] = r.Config.Image
	attributes["name"] = r.Name
	maps.Copy(attributes, more)
	now := e.o.Clock.Now()
	e.o.Events.Publish(events.Message{
		Type:     events.ContainerEventType,
		Action:   action,
		Actor:    events.Actor{ID: r.ID, Attributes: attributes},
		Scope:    "local",
		Time:     now.Unix(),
		TimeNano: now.UnixNano(),
	})
}
