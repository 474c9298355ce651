package secrets

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/docker"
)

// TestProvideBesideForks provides secrets while other goroutines make processes, as pierd does when its supervisor has
// died: each has copies of pierd's descriptors for a moment.
func TestProvideBesideForks(t *testing.T) {
	done := make(chan struct{})
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer others.Wait()
	defer close(done)
	var asked []docker.NewSecret
	for range 50 {
		asked = append(asked, docker.NewSecret{Secret: docker.Secret{Target: "x"}, Content: []byte("content")})
	}
	var list []docker.Secret
	for i := range asked {
		asked[i].Target = "/s" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		list = append(list, asked[i].Secret)
	}
	for range 40 {
		dir := t.TempDir()
		if err := Keep(dir, asked, true); err != nil {
			t.Fatal(err)
		}
		s := &specs.Spec{Process: &specs.Process{}}
		if err := Provide(dir, list, s); err != nil {
			t.Error(err)
		} else if got, err := os.ReadFile(filepath.Join(dir, runDir, "49")); err != nil || !bytes.Equal(got, asked[49].Content) {
			t.Errorf("%q, %v", got, err)
		} else if err := os.WriteFile(filepath.Join(dir, runDir, "49"), nil, 0o600); err == nil {
			t.Error("they can be written")
		}
		if err := Sweep(dir); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}
