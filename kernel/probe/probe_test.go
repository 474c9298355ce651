package probe

import (
	"testing"

	"pier/lib/errkind"
)

func TestParse(t *testing.T) {
	for release, want := range map[string]Version{"6.18.5": {6, 18}, "6.1.0-13-amd64": {6, 1}, "5.15": {5, 15}, "7.0-rc1": {7, 0}, "6.5+": {6, 5}} {
		if got, err := parse(release); err != nil || got != want {
			t.Errorf("parse(%q) = %v, %v", release, got, err)
		}
	}
	for _, release := range []string{"", "6", "x.y", "six.five"} {
		if got, err := parse(release); err == nil {
			t.Errorf("parse(%q) = %v", release, got)
		}
	}
}

func TestRunningKernel(t *testing.T) {
	if err := Require("this test", Oldest()); err != nil {
		t.Error(err)
	}
	if err := Require("a wish", Version{999, 0}); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("Require(999.0) = %v", err)
	}
}
