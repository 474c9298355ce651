package mounts

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pier/daemon/engine/internal/settings"
)

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	mounts := []settings.Mount{{Name: "named"}, {Anonymous: true}, {Anonymous: true, Name: "theirs"}, {Anonymous: true}}
	if err := claim(dir, mounts); err != nil {
		t.Fatal(err)
	}
	if got := claimed(dir); !slices.Equal(got, []string{mounts[1].Name, mounts[3].Name}) || got[0] == got[1] {
		t.Errorf("noted %q of %+v", got, mounts)
	}
	for range 2 {
		if err := unclaim(dir); err != nil || claimed(dir) != nil {
			t.Errorf("after unclaim: %q, %v", claimed(dir), err)
		}
	}
	if err := claim(dir, mounts[:1]); err != nil || claimed(dir) != nil {
		t.Errorf("without anonymous volumes: %q, %v", claimed(dir), err)
	}
	if err := os.WriteFile(filepath.Join(dir, note), []byte("../../etc\nx"), 0o600); err != nil || claimed(dir) != nil {
		t.Errorf("a note of another hand: %q, %v", claimed(dir), err)
	}
}
