package server

import (
	"errors"
	"strings"
	"testing"

	"pier/lib/errkind"
)

// TestLastFact shows that a run whose output was cut off does not end like one that went well.
func TestLastFact(t *testing.T) {
	for _, err := range []error{nil, errors.New("the client left")} {
		if f := lastFact(err, 3, true); f == nil || f.Failure != nil || f.Ended == nil || f.Ended.ExitCode != 3 {
			t.Errorf("after %v: %+v", err, f)
		}
		if f := lastFact(err, 0, false); f != nil {
			t.Errorf("after %v, with no exit code: %+v", err, f)
		}
	}
	for _, kind := range []errkind.Kind{errkind.Unavailable, errkind.Timeout} {
		cut := errkind.New(kind, "stream of task web: missed output")
		for _, c := range []struct {
			known bool
			how   string
		}{{true, "ended with 0"}, {false, "not known"}} {
			f := lastFact(cut, 0, c.known)
			if f == nil || f.Ended != nil || f.Failure == nil || !strings.Contains(f.Failure.Message, "missed output") || !strings.Contains(f.Failure.Message, c.how) {
				t.Errorf("after %v, exit known %v: %+v", cut, c.known, f)
			}
		}
	}
}
