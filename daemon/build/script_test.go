package build_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"pier/daemon/build"
)

var rewrite = flag.Bool("rewrite", false, "write what was seen into testdata instead of comparing")

// TestScripts builds each archive of testdata/build. Its files are the context, but for these:
//
//	@request  lines "name value": target, arg, label, platform, network, nocache, dockerfile, tag
//	@run      a shell script to run in the image; @out is what it prints
//	@config   the image's configuration and history
//	@steps    the builder's text
//	@error    the error; the build must fail with it
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/build/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no scripts", err)
	}
	w := newWorld(t)
	onbuild := &dockerspec.DockerOCIImageConfig{}
	onbuild.Env, onbuild.OnBuild = []string{"PATH=/bin"}, []string{"COPY seed.txt /seed.txt", "RUN echo built-on >> /seed.txt"}
	w.importBase("trigger:latest", onbuild)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { runScript(t, w, name) })
	}
}

func runScript(t *testing.T, w *world, name string) {
	w.t = t
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	special, f := map[string]string{}, files{}
	for _, file := range archive.Files {
		if strings.HasPrefix(file.Name, "@") {
			special[file.Name] = string(file.Data)
		} else if link, ok := strings.CutSuffix(file.Name, "@"); ok {
			f[link] = "-> " + strings.TrimSpace(string(file.Data))
		} else {
			f[file.Name] = string(file.Data)
		}
	}
	res, out, err := w.build(f, func(r *build.Request) { scriptRequest(t, special["@request"], r) })
	seen := map[string]string{"@steps": out}
	if err != nil {
		seen["@error"] = err.Error() + "\n"
		if step := (*build.StepError)(nil); asStep(err, &step) {
			seen["@error"] += step.Detail()
		}
	} else {
		img, err := w.images.Get(res.ImageID)
		w.must(err)
		seen["@config"] = describe(t, img.RawConfig)
		if script, ok := special["@run"]; ok {
			seen["@out"] = w.sh(img, script)
		}
	}
	if *rewrite {
		rewriteScript(t, name, archive, seen)
		return
	}
	if _, ok := special["@error"]; !ok && err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for key, want := range special {
		if got, ok := seen[key]; (ok || key == "@error") && got != want {
			t.Errorf("%s:\n--- got\n%s--- want\n%s", key, got, want)
		}
	}
}

func rewriteScript(t *testing.T, name string, a *txtar.Archive, seen map[string]string) {
	for i, file := range a.Files {
		if s, ok := seen[file.Name]; ok {
			a.Files[i].Data = []byte(s)
		} else if file.Name == "@error" {
			t.Error("the build did not fail")
		}
	}
	if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func scriptRequest(t *testing.T, lines string, r *build.Request) {
	for line := range strings.Lines(lines) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		k, v, _ := strings.Cut(value, "=")
		switch key {
		case "target":
			r.Target = value
		case "arg":
			if r.BuildArgs == nil {
				r.BuildArgs = map[string]*string{}
			}
			r.BuildArgs[k] = &v
		case "label":
			if r.Labels == nil {
				r.Labels = map[string]string{}
			}
			r.Labels[k] = v
		case "platform":
			r.Platform = value
		case "network":
			r.NetworkMode = value
		case "nocache":
			r.NoCache = true
		case "dockerfile":
			r.Dockerfile = value
		case "tag":
			r.Tags = append(r.Tags, value)
		case "host":
			r.ExtraHosts = append(r.ExtraHosts, value)
		case "":
		default:
			t.Fatalf("unknown request line %q", line)
		}
	}
}

// describe shows the parts of a configuration that do not change from run to run.
func describe(t *testing.T, raw []byte) string {
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(raw, &img); err != nil {
		t.Fatal(err)
	}
	config, err := json.MarshalIndent(img.Config, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s/%s\n%s\n", img.OS, img.Architecture, config)
	layers := 0
	for _, h := range img.History {
		mark := "     "
		if !h.EmptyLayer {
			mark, layers = "layer", layers+1
		}
		if h.Created == nil {
			t.Errorf("history entry %q has no time", h.CreatedBy)
		}
		s.WriteString(strings.TrimRight(mark+" "+strings.ReplaceAll(h.CreatedBy, "\n", "\\n"), " ") + "\n")
	}
	if layers != len(img.RootFS.DiffIDs) {
		t.Errorf("%d layers in the history, %d in the root file system", layers, len(img.RootFS.DiffIDs))
	}
	return s.String()
}
