package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/outside"
)

// Docker's defaults for health checks.
const (
	interval      = 30 * time.Second
	timeout       = 30 * time.Second
	startInterval = 5 * time.Second
	retries       = 3
	kept          = 5 // results
)

// output is how many bytes are kept of a probe's output.
const output = 4096

// Check is a container's health check in one run of the container: what is run, how long to wait, and what a result means.
// It is pure: it reads Config and keeps nothing.
type Check struct {
	Config    *container.Config
	StartedAt time.Time
}

// What is what the check runs in the container, or how it is made without; both are nil for none.
func (k Check) What() (command []string, own *outside.Check) {
	h := k.Config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil, nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:], nil
	case "CMD-SHELL":
		shell := k.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return slices.Concat(shell, h.Test[1:]), nil
	}
	own, _ = outside.Parse(h.Test) // what is wrong with it was said when the container was made
	return nil, own
}

// Begin is the health at the beginning of the run, or when the daemon takes it up; old is what was known, or nil.
func (k Check) Begin(old *container.Health) *container.Health {
	if old == nil {
		return &container.Health{Status: container.Starting}
	}
	if len(old.Log) > 0 && !old.Log[len(old.Log)-1].Start.Before(k.StartedAt) {
		return old
	}
	return &container.Health{Status: container.Starting, Log: old.Log}
}

// Pause is the time until the next probe.
func (k Check) Pause(status container.HealthStatus, now time.Time) time.Duration {
	h := k.Config.Healthcheck
	if h.StartPeriod > 0 && status == container.Starting && now.Sub(k.StartedAt) < h.StartPeriod {
		return orDefault(h.StartInterval, startInterval)
	}
	return orDefault(h.Interval, interval)
}

// Timeout is how long one probe may take.
func (k Check) Timeout() time.Duration { return orDefault(k.Config.Healthcheck.Timeout, timeout) }

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// Late words the result of a probe that was ended for taking too long.
func (k Check) Late(res *container.HealthcheckResult) {
	res.ExitCode = -1
	msg := fmt.Sprintf("Health check exceeded timeout (%v)", k.Timeout())
	if res.Output != "" {
		msg += ": " + res.Output
	}
	res.Output = msg
}

// Judge takes one result into account. old is not changed.
func (k Check) Judge(old *container.Health, res *container.HealthcheckResult) *container.Health {
	h := k.Config.Healthcheck
	next := *old
	next.Log = append(slices.Clone(old.Log), res)
	if len(next.Log) > kept {
		next.Log = next.Log[len(next.Log)-kept:]
	}
	limit := h.Retries
	if limit <= 0 {
		limit = retries
	}
	switch {
	case res.ExitCode == 0:
		next.Status, next.FailingStreak = container.Healthy, 0
	case old.Status == container.Starting && res.Start.Sub(k.StartedAt) < h.StartPeriod:
		// failures do not count before it can be expected to work
	default:
		if next.FailingStreak++; next.FailingStreak >= limit {
			next.Status = container.Unhealthy
		}
	}
	return &next
}
