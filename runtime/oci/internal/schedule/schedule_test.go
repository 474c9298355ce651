package schedule

import (
	"strconv"
	"strings"
	"testing"
)

func TestSet(t *testing.T) {
	for list, want := range map[string]string{"0": "1", "0-3,7": "143", "64": "0 1", "": "", " 1 , 2": "6", "3-1": "error", "x": "error", "8192": "error", ",": "error"} {
		mask, err := Set(list)
		var words []string
		for _, m := range mask {
			words = append(words, strconv.FormatUint(m, 10))
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
}
