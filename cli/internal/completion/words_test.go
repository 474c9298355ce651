package completion

import (
	"testing"

	"github.com/docker/go-units"
)

// TestUlimits: what is offered is taken.
func TestUlimits(t *testing.T) {
	for _, name := range ulimits() {
		if _, err := units.ParseUlimit(name + "1"); err != nil {
			t.Error(err)
		}
	}
}
