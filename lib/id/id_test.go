package id

import (
	"path/filepath"
	"testing"
)

func TestNew(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := New()
		if len(s) != Len || !Valid(s) || seen[s] {
			t.Fatalf("New() = %q: wrong length, characters, or seen before", s)
		}
		seen[s] = true
	}
}

func TestShort(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "0123456789abcdef": "0123456789ab", "sha256:0123456789abcdef": "0123456789ab"} {
		if got := Short(in); got != want {
			t.Errorf("Short(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestValid(t *testing.T) {
	for in, want := range map[string]bool{"": false, "ab12": true, "AB": false, "../x": false, New() + "a": false} {
		if got := Valid(in); got != want {
			t.Errorf("Valid(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	made, err := Kept(path)
	if err != nil || len(made) != 32 || !Valid(made+made) {
		t.Fatalf("made %q, %v", made, err)
	}
	if kept, err := Kept(path); err != nil || kept != made {
		t.Errorf("kept %q of %q, %v", kept, made, err)
	}
	if _, err := Kept(filepath.Join(path, "x")); err == nil {
		t.Error("a file is no folder")
	}
}
