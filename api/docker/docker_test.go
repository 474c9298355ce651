package docker

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{"1.40": {1, 40}, "1.9": {1, 9}, "2.0": {2, 0}} {
		if got, err := ParseVersion(in); err != nil || got != want || got.String() != in {
			t.Errorf("ParseVersion(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "1", "1.", ".4", "1.4.1", "v1.4", "1.-4", "1.4444", "1. 4"} {
		if got, err := ParseVersion(in); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", in, got)
		}
	}
	if !(Version{1, 9}).Before(40) || (Version{1, 40}).Before(40) || (Version{2, 0}).Before(40) {
		t.Error("Before compares wrongly")
	}
}

func TestParseFilters(t *testing.T) {
	tests := map[string]Filters{
		``:                               {},
		`{}`:                             {},
		`{"label":["b","a","b"]}`:        {"label": {"a", "b"}},
		`{"label":{"a":true,"b":false}}`: {"label": {"a"}},
		`{"id":["x"],"name":{"y":true}}`: {"id": {"x"}, "name": {"y"}},
	}
	for in, want := range tests {
		if got, err := ParseFilters(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseFilters(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{`[]`, `{"label":"a"}`, `{"label":[1]}`, `x`} {
		if got, err := ParseFilters(in); err == nil {
			t.Errorf("ParseFilters(%q) = %v, want an error", in, got)
		}
	}
	f := Filters{"dangling": {"true"}, "odd": nil}
	if got := f.Unknown("dangling"); got != "odd" {
		t.Errorf("Unknown = %q", got)
	}
	if on, err := f.Bool("dangling", false); err != nil || !on {
		t.Errorf("Bool = %v, %v", on, err)
	}
	if _, err := (Filters{"dangling": {"false", "true"}}).Bool("dangling", false); err == nil {
		t.Error("Bool accepted both values")
	}
}

// The highest version is the one that the API description in the module cache describes.
func TestMaxVersionIsThatOfTheModule(t *testing.T) {
	out, err := os.ReadFile(filepath.Join(moduleDir(t), "swagger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "version: \""+MaxVersion.String()+"\"") {
		t.Errorf("the API description is not of version %s", MaxVersion)
	}
}
