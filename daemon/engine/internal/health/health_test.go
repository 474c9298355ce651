package health

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func TestCheck(t *testing.T) {
	start := time.Unix(1000, 0)
	k := Check{StartedAt: start, Config: &container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"},
		Interval: time.Minute, StartPeriod: 10 * time.Second, StartInterval: time.Second, Retries: 2}}}
	for _, test := range []struct {
		status container.HealthStatus
		after  time.Duration
		want   time.Duration
	}{
		{container.Starting, 0, time.Second},
		{container.Starting, 10 * time.Second, time.Minute},
		{container.Healthy, 0, time.Minute},
	} {
		if got := k.Pause(test.status, start.Add(test.after)); got != test.want {
			t.Errorf("%s after %v: pause of %v, want %v", test.status, test.after, got, test.want)
		}
	}
	h := k.Begin(nil)
	for i, step := range []struct {
		code   int
		after  time.Duration
		status container.HealthStatus
		streak int
	}{
		{1, 9 * time.Second, container.Starting, 0}, // it may still be starting
		{1, 11 * time.Second, container.Starting, 1},
		{1, 12 * time.Second, container.Unhealthy, 2},
		{0, 13 * time.Second, container.Healthy, 0},
		{1, 14 * time.Second, container.Healthy, 1},
		{1, 15 * time.Second, container.Unhealthy, 2},
	} {
		h = k.Judge(h, &container.HealthcheckResult{ExitCode: step.code, Start: start.Add(step.after)})
		if h.Status != step.status || h.FailingStreak != step.streak {
			t.Errorf("step %d: %s, streak %d; want %s, %d", i, h.Status, h.FailingStreak, step.status, step.streak)
		}
	}
	if len(h.Log) != kept {
		t.Errorf("%d results are kept", len(h.Log))
	}
	if again := k.Begin(h); again != h {
		t.Error("a daemon that starts forgets the health of a run it takes up")
	}
	k.StartedAt = start.Add(time.Hour)
	if fresh := k.Begin(h); fresh.Status != container.Starting || fresh.FailingStreak != 0 {
		t.Errorf("a new run begins with %+v", fresh)
	}
}

func TestCommand(t *testing.T) {
	for _, test := range []struct {
		test, shell, want []string
	}{
		{nil, nil, nil},
		{[]string{"NONE"}, nil, nil},
		{[]string{"CMD", "a", "b"}, nil, []string{"a", "b"}},
		{[]string{"CMD-SHELL", "a b"}, nil, []string{"/bin/sh", "-c", "a b"}},
		{[]string{"CMD-SHELL", "a b"}, []string{"/bin/bash", "-e", "-c"}, []string{"/bin/bash", "-e", "-c", "a b"}},
	} {
		k := Check{Config: &container.Config{Shell: test.shell, Healthcheck: &container.HealthConfig{Test: test.test}}}
		got, _ := k.What()
		if len(got) != len(test.want) || len(got) > 0 && got[len(got)-1] != test.want[len(got)-1] {
			t.Errorf("%q: %q, want %q", test.test, got, test.want)
		}
	}
}
