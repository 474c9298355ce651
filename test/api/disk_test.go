package api

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullDisk runs pierd on a data root that is too small. What does not fit is refused with a reason and leaves
// nothing; what was there before goes on working.
func TestFullDisk(t *testing.T) {
	p := startPierd(t)
	if err := p.Signal(sigterm); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(p.Dir, "data")
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "pier-test", data).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() { // before the daemon's own cleanup, which refuses to remove what is mounted
		_ = p.Signal(sigterm)
		if out, err := exec.Command("umount", data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	p.Run()
	p.importBusybox()
	files := map[string]string{"Dockerfile": "FROM busybox\nCOPY big /big\n", "big": strings.Repeat("not compressible in place ", 1<<20)}
	a := p.do("POST", "/build?t=big", buildContext(t, files))
	if !strings.Contains(strings.ToLower(string(a.body)), "no space left") && !strings.Contains(string(a.body), "disk is full") {
		t.Errorf("build = %d %.300s", a.status, a.body)
	}
	a = p.do("POST", "/images/create?fromSrc=-&repo=big", buildContext(t, files))
	if a.status != 500 || !strings.Contains(strings.ToLower(a.message()), "no space left") && !strings.Contains(a.message(), "disk is full") {
		t.Errorf("import = %d %.300s", a.status, a.body)
	}
	p.Eventually("room again", func() error { // what was unpacked in vain is removed behind the answer
		left, err := os.ReadDir(filepath.Join(data, "layers", "trash"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d folders are still being removed", len(left))
		}
		return err
	})
	for range 3 {
		p.create("small", object{"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": object{"NetworkMode": "none"}})
		p.want(204, "POST", "/containers/small/start", nil, nil)
		p.want(200, "POST", "/containers/small/wait", nil, nil)
		p.want(204, "DELETE", "/containers/small", nil, nil)
	}
}
