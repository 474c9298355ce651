package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pier/test/lab"
)

// summary is one checkpoint of a list.
type summary struct{ Name string }

func (p *pierd) checkpoints(ref, query string, want ...string) {
	p.t.Helper()
	list := []summary{}
	p.want(200, "GET", "/containers/"+ref+"/checkpoints"+query, nil, &list)
	names := []string{}
	for _, one := range list {
		names = append(names, one.Name)
	}
	if !slices.Equal(names, want) {
		p.t.Errorf("checkpoints of %s%s: %q, want %q", ref, query, names, want)
	}
}

// handMade writes a folder that Pier takes for a checkpoint, until the runtime looks into it.
func handMade(t *testing.T, dir, name, container string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(object{"Version": 1, "Container": container})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{"pier-container.json": string(text), "pages-1.img": strings.Repeat("x", 300<<10)} {
		if err := os.WriteFile(filepath.Join(path, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// own is the folder of a container's checkpoints.
func (p *pierd) own(id string) string {
	return filepath.Join(p.Dir, "data/containers", id, "checkpoints")
}

// TestCheckpointsOnDisk lists, counts and removes checkpoints, and starts from some that are none, which leaves everything as it was.
func TestCheckpointsOnDisk(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	id := p.create("web", sleeper())
	p.checkpoints("web", "")
	custom := t.TempDir()
	query := "?dir=" + custom
	p.checkpoints("web", query)
	for _, dir := range []string{p.own(id), custom} {
		handMade(t, dir, "two", id)
		handMade(t, dir, "one", "another")
		if err := os.MkdirAll(filepath.Join(dir, "no-checkpoint"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.checkpoints("web", "", "one", "two")
	p.checkpoints("web", query, "one", "two")
	p.want(204, "POST", "/containers/web/rename?name=site", nil, nil)
	p.checkpoints("site", "", "one", "two")

	var listed []struct{ SizeRw int64 }
	p.want(200, "GET", "/containers/json?all=1&size=1", nil, &listed)
	if len(listed) != 1 || listed[0].SizeRw < 600<<10 || listed[0].SizeRw > 900<<10 {
		t.Errorf("two checkpoints of 300 KiB take %+v", listed)
	}

	for _, name := range []string{"one", "two"} {
		for _, dir := range []string{"", "&checkpoint-dir=" + custom} {
			a := p.do("POST", "/containers/site/start?checkpoint="+name+dir, nil)
			if a.status != http.StatusBadRequest || !strings.Contains(a.message(), "it has no pier-runtime.json") {
				t.Errorf("start from a hand-made checkpoint: %d %s", a.status, a.body)
			}
		}
	}
	if s := p.status("site"); s != "created" {
		t.Errorf("after starts that failed it is %s", s)
	}
	if got := p.do("DELETE", "/containers/site/checkpoints/no-checkpoint"+query, nil); got.status != http.StatusBadRequest {
		t.Errorf("what is no checkpoint was removed: %d %s", got.status, got.body)
	}
	if err := os.Symlink(filepath.Join(custom, "two"), filepath.Join(custom, "link")); err != nil {
		t.Fatal(err)
	}
	if got := p.do("DELETE", "/containers/site/checkpoints/link"+query, nil); got.status != http.StatusBadRequest {
		t.Errorf("a link was removed: %d %s", got.status, got.body)
	}
	p.want(204, "DELETE", "/containers/site/checkpoints/one"+query, nil, nil)
	p.want(204, "DELETE", "/containers/site/checkpoints/one", nil, nil)
	p.want(404, "DELETE", "/containers/site/checkpoints/one", nil, nil)
	p.checkpoints("site", "", "two")
	p.checkpoints("site", query, "two")

	p.want(204, "POST", "/containers/site/start", nil, nil) // from its beginning
	p.want(304, "POST", "/containers/site/start?checkpoint=two", nil, nil)
	p.want(204, "DELETE", "/containers/site?force=1", nil, nil)
	lab.Eventually(t, "its own checkpoints to go with it", func() error {
		if _, err := os.Stat(filepath.Dir(p.own(id))); !os.IsNotExist(err) {
			return fmt.Errorf("%v", err)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(custom, "two/pages-1.img")); err != nil {
		t.Errorf("a checkpoint in a folder of the user's went with the container: %v", err)
	}
}

func (p *pierd) status(ref string) string {
	p.t.Helper()
	var in struct{ State struct{ Status string } }
	p.want(200, "GET", "/containers/"+ref+"/json", nil, &in)
	return in.State.Status
}

// works reports whether there is a CRIU that works on this machine.
func works() bool { return exec.Command("criu", "check").Run() == nil }

// TestCheckpointRefused makes a checkpoint on a machine whose CRIU does not work, or is not there, or works: the container runs
// on, and what was begun is gone, unless it is whole.
func TestCheckpointRefused(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	id := p.create("web", sleeper())
	p.want(204, "POST", "/containers/web/start", nil, nil)
	custom := filepath.Join(t.TempDir(), "made/by/pierd")
	for _, paused := range []bool{false, true} {
		if paused {
			p.want(204, "POST", "/containers/web/pause", nil, nil)
		}
		for _, dir := range []string{"", custom} {
			a := p.do("POST", "/containers/web/checkpoints", object{"CheckpointID": "one", "CheckpointDir": dir})
			left := p.own(id)
			if dir != "" {
				left = dir
			}
			switch entries, err := os.ReadDir(left); {
			case err != nil:
				t.Error(err)
			case a.status == http.StatusCreated:
				if len(entries) != 1 || entries[0].Name() != "one" {
					t.Errorf("in %s is %v", left, entries)
				}
				p.want(409, "POST", "/containers/web/checkpoints", object{"CheckpointID": "one", "CheckpointDir": dir}, nil)
				p.want(204, "DELETE", "/containers/web/checkpoints/one?dir="+dir, nil, nil)
			case works() || a.status != http.StatusNotImplemented || !strings.Contains(a.message(), "Cannot checkpoint container web: "):
				t.Errorf("checkpoint: %d %s", a.status, a.body)
			case len(entries) > 0:
				t.Errorf("left in %s: %v", left, entries)
			}
			if s, want := p.status("web"), map[bool]string{false: "running", true: "paused"}[paused]; s != want {
				t.Errorf("it is %s after a checkpoint, want %s", s, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(p.own(id)), "checkpoint.pending")); !os.IsNotExist(err) {
		t.Errorf("the note of what is half done is there: %v", err)
	}
	p.want(204, "POST", "/containers/web/unpause", nil, nil)
	p.want(204, "DELETE", "/containers/web?force=1", nil, nil)

	body := sleeper()
	body["HostConfig"] = object{"AutoRemove": true}
	p.create("gone", body)
	p.want(204, "POST", "/containers/gone/start", nil, nil)
	if a := p.do("POST", "/containers/gone/checkpoints", object{"CheckpointID": "one", "Exit": true}); a.status != http.StatusConflict || !strings.Contains(a.message(), "--rm") {
		t.Errorf("a checkpoint that would go with its container: %d %s", a.status, a.body)
	}
	p.want(204, "DELETE", "/containers/gone?force=1", nil, nil)
}

// TestExperiments holds what makes stock clients offer checkpoints.
func TestExperiments(t *testing.T) {
	p := startPierd(t)
	if a := p.do("GET", "/_ping", nil); a.header.Get("Docker-Experimental") != "true" {
		t.Errorf("ping: %v", a.header)
	}
	var version struct{ Experimental bool }
	var info struct{ ExperimentalBuild bool }
	p.want(200, "GET", "/version", nil, &version)
	p.want(200, "GET", "/info", nil, &info)
	if !version.Experimental || !info.ExperimentalBuild {
		t.Errorf("version %+v, info %+v", version, info)
	}
}
