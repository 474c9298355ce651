package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// Memory goes back some time after the last start or delete, and now and then while there are probes without end.
func TestTidier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		tidy := newTidier(func() { n++ })
		defer tidy.stop()
		after := func(d time.Duration, want int, what string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n != want {
				t.Errorf("%s: tidied %d times, want %d", what, n, want)
			}
		}
		after(tidyAfter, 1, "the beginning")
		after(time.Hour, 1, "nothing happens")
		for range 10 {
			tidy.request()
			after(tidyAfter-time.Second, 1, "requests go on")
			tidy.probes()
		}
		after(time.Second, 2, "after the last request")
		for range 10 * int(tidyProbes/time.Second) {
			tidy.probes()
			time.Sleep(time.Second)
		}
		after(tidyProbes, 12, "a probe each second for ten minutes")
		tidy.probes()
		tidy.request()
		after(tidyAfter, 13, "a request after a probe")
		after(time.Hour, 13, "nothing more")
	})
}
