package api

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestUsageIsHonest compares the sum of GET /system/df with what du finds below the data root.
func TestUsageIsHonest(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	files := map[string]string{"Dockerfile": "FROM busybox\nCOPY big /big\nRUN dd if=/dev/urandom of=/made bs=1M count=12 2>/dev/null; i=0; while [ $i -lt 999 ]; do echo small > /small$i; i=$((i+1)); done\n",
		"big": strings.Repeat("a layer of some size ", 1<<20)}
	p.want(200, "POST", "/build?t=big", buildContext(t, files), nil)
	for _, name := range []string{"rest", "work"} {
		p.create(name, object{"Image": "big", "Cmd": []string{"sh", "-c",
			"dd if=/dev/urandom of=/own bs=1M count=16; dd if=/dev/urandom of=/data/kept bs=1M count=16; " +
				"i=0; while [ $i -lt 40 ]; do echo small > /s$i; i=$((i+1)); done; exec sleep 600"},
			"StopSignal": "SIGKILL", "HostConfig": object{"NetworkMode": "none", "Binds": []string{name + ":/data"}}})
		p.want(204, "POST", "/containers/"+name+"/start", nil, nil)
	}
	p.Eventually("the files", func() error {
		for _, name := range []string{"rest", "work"} {
			if r := p.Do("pier", "exec", name, "test", "-e", "/s39"); r.Code != 0 {
				return strconv.ErrRange
			}
		}
		return nil
	})
	p.want(204, "POST", "/containers/rest/stop", nil, nil)
	var u struct {
		ImageUsage, ContainerUsage, VolumeUsage, BuildCacheUsage struct{ TotalSize int64 }
	}
	p.want(200, "GET", "/system/df", nil, &u)
	sum := u.ImageUsage.TotalSize + u.ContainerUsage.TotalSize + u.VolumeUsage.TotalSize + u.BuildCacheUsage.TotalSize
	var parts []string
	disk := int64(0)
	out, err := exec.Command("du", "-x", "-k", "-d", "2", filepath.Join(p.Dir, "data")).CombinedOutput()
	if err != nil {
		t.Fatalf("du: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		n, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		disk, _ = strconv.ParseInt(n, 10, 64) // the whole comes last
		parts = append(parts, n+" "+strings.TrimPrefix(path, p.Dir))
	}
	disk <<= 10
	if off := float64(sum-disk) / float64(disk); off > 0.01 || off < -0.01 {
		t.Errorf("df says %d (%+v), du %d: %.1f %% off\n%s", sum, u, disk, 100*off, strings.Join(parts, "\n"))
	}
	p.want(200, "DELETE", "/images/big?force=1", nil, nil)
}
