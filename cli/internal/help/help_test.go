package help

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		"pier ps":                "pier container ls, pier container list, pier container ps, pier ps",
		"pier container ls":      "pier container ls, pier container list, pier container ps, pier ps",
		"pier image rm":          "pier image rm, pier image remove, pier rmi",
		"pier rm":                "pier container rm, pier container remove, pier rm",
		"pier run":               "pier container run, pier run",
		"pier image build":       "pier image build, pier build",
		"pier info":              "pier system info, pier info",
		"pier inspect":           "",
		"pier container prune":   "",
		"pier version":           "",
		"pier":                   "",
		"pier network ls list":   "pier network ls, pier network list",
		"pier network rm remove": "pier network rm, pier network remove",
		"pier network create":    "",
		"pier container build":   "",
	} {
		words := strings.Fields(path)
		var aliases []string
		if len(words) == 4 {
			words, aliases = words[:3], words[3:]
		}
		got := ""
		if names := Names(words, aliases); len(names) > 1 {
			got = strings.Join(names, ", ")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestExample(t *testing.T) {
	for path, want := range map[string]string{
		"pier container diff": "  pier diff web",
		"pier image tag":      "  pier tag web:latest registry.example:5000/web:1.4",
		"pier network rm":     "  pier network rm back",
		"pier stats":          "",
		"pier":                "",
	} {
		if got := Example(strings.Fields(path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
