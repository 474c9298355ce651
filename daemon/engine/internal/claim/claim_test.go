package claim

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pier/daemon/engine/internal/settings"
)

func TestNote(t *testing.T) {
	dir := t.TempDir()
	mounts := []settings.Mount{{Name: "named"}, {Anonymous: true}, {Anonymous: true, Name: "theirs"}, {Anonymous: true}}
	if err := Note(dir, mounts); err != nil {
		t.Fatal(err)
	}
	if got := Noted(dir); !slices.Equal(got, []string{mounts[1].Name, mounts[3].Name}) || got[0] == got[1] {
		t.Errorf("noted %q of %+v", got, mounts)
	}
	for range 2 {
		if err := Drop(dir); err != nil || Noted(dir) != nil {
			t.Errorf("after Drop: %q, %v", Noted(dir), err)
		}
	}
	if err := Note(dir, mounts[:1]); err != nil || Noted(dir) != nil {
		t.Errorf("without anonymous volumes: %q, %v", Noted(dir), err)
	}
	if err := os.WriteFile(filepath.Join(dir, note), []byte("../../etc\nx"), 0o600); err != nil || Noted(dir) != nil {
		t.Errorf("a note of another hand: %q, %v", Noted(dir), err)
	}
}
