package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pier/daemon/build"
)

// cacheDockerfile has a step for everything that can change.
const cacheDockerfile = `FROM base AS deps
COPY package.json /deps/
RUN echo deps
FROM base AS compile
ARG FLAGS=none
WORKDIR /src
COPY --from=deps /deps /src/deps
RUN echo compile-$FLAGS
COPY . .
RUN echo use-context
FROM base
RUN echo independent
COPY --from=compile /src/out /out
RUN --mount=type=bind,from=deps,source=/deps/package.json,target=/p echo use-mount
RUN echo last
`

// TestCache changes one thing after the other and looks at which steps run again.
func TestCache(t *testing.T) {
	w := newWorld(t)
	base := files{"Dockerfile": cacheDockerfile, "package.json": "{}", "src.c": "main", "out": "result", ".dockerignore": "ignored\nDockerfile\n"}
	all := []string{"echo compile-$FLAGS", "echo deps", "echo independent", "echo last", "echo use-context", "echo use-mount"}
	set := func(name, content string) func(files, *build.Request) {
		return func(f files, _ *build.Request) { f[name] = content }
	}
	replace := func(old, with string) func(files, *build.Request) {
		return func(f files, _ *build.Request) { f["Dockerfile"] = strings.Replace(f["Dockerfile"], old, with, 1) }
	}
	for _, c := range []struct {
		name   string
		change func(files, *build.Request)
		ran    []string
	}{
		{"first", nil, all},
		{"nothing", nil, nil},
		{"ignored file", set("ignored", "x"), nil},
		{"comment in the Dockerfile", replace("RUN echo last", "# hello\nRUN echo last"), nil},
		// The context is copied to /src, and of that only /src/out is taken on: the last stage does not notice.
		{"source file", set("src.c", "other"), []string{"echo use-context"}},
		{"source file that is taken on", set("out", "other"), []string{"echo last", "echo use-context", "echo use-mount"}},
		{"input of the first stage", set("package.json", "{1}"), []string{"echo compile-$FLAGS", "echo deps", "echo use-context", "echo use-mount"}},
		{"new file", set("new.c", ""), []string{"echo use-context"}},
		{"build argument", func(_ files, r *build.Request) { v := "fast"; r.BuildArgs = map[string]*string{"FLAGS": &v} }, []string{"echo compile-$FLAGS", "echo use-context"}},
		{"unused build argument", func(_ files, r *build.Request) { v := "x"; r.BuildArgs = map[string]*string{"UNUSED": &v} }, nil},
		{"proxy", func(_ files, r *build.Request) { v := "http://p"; r.BuildArgs = map[string]*string{"http_proxy": &v} }, nil},
		{"label", func(_ files, r *build.Request) { r.Labels = map[string]string{"a": "b"} }, nil},
		{"last command", replace("RUN echo last", "RUN echo LAST"), []string{"echo LAST"}},
		// A step that changed nothing has the layer that it had before, so the one after it does not notice.
		{"mount of a step", replace("target=/p", "target=/q"), []string{"echo use-mount"}},
		{"user before a step", replace("RUN echo last", "USER app\nRUN echo last"), []string{"echo last"}},
		{"only a stage", func(_ files, r *build.Request) { r.Target = "deps"; r.NoCache = true }, []string{"echo deps"}},
		{"no cache", func(_ files, r *build.Request) { r.NoCache = true }, all},
		{"after no cache", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			f := maps.Clone(base)
			w.mustBuild(f, func(r *build.Request) {
				if c.change != nil {
					c.change(f, r)
					r.Context = contextTar(t, f)
				}
			})
			want := slices.Sorted(slices.Values(c.ran))
			if got := w.steps.take(); !slices.Equal(got, want) {
				t.Errorf("ran %q, want %q", got, want)
			}
		})
	}
	w.t = t
}

// TestCacheIgnoresTimes builds the same files with other times and modes.
func TestCacheIgnoresTimes(t *testing.T) {
	w := newWorld(t)
	context := func(when time.Time, mode int64) *bytes.Buffer {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		for name, content := range map[string]string{"Dockerfile": "FROM base\nCOPY a /\nRUN echo x\n", "a": "a"} {
			w.must(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: when, Uid: int(mode)}))
			_, err := tw.Write([]byte(content))
			w.must(err)
		}
		w.must(tw.Close())
		return &buf
	}
	for i, c := range []struct {
		when time.Time
		mode int64
		runs int
	}{{time.Unix(1e9, 0), 0o644, 1}, {time.Unix(1.1e9, 0), 0o644, 0}, {time.Unix(1e9, 0), 0o600, 1}} {
		if _, _, err := w.build(nil, func(r *build.Request) { r.Context = context(c.when, c.mode) }); err != nil {
			t.Fatal(err)
		}
		if got := w.steps.take(); len(got) != c.runs {
			t.Errorf("build %d ran %q", i, got)
		}
	}
}

// TestCacheSurvives restarts the builder, and then takes a layer away.
func TestCacheSurvives(t *testing.T) {
	w := newWorld(t)
	f := files{"Dockerfile": "FROM base\nRUN echo one > /one\nRUN echo two > /two\n"}
	first, _ := w.mustBuild(f, nil)
	w.close()
	w.steps.take()
	w.open()
	again, _ := w.mustBuild(f, nil)
	if ran := w.steps.take(); len(ran) != 0 || again.ID != first.ID {
		t.Errorf("after a restart: ran %q, image %s, before %s", ran, again.ID, first.ID)
	}
	if usage := w.builder.Usage(); len(usage) != 2 || usage[0].Size != 4 || !strings.Contains(usage[0].Name, "RUN echo") {
		t.Errorf("usage %+v", usage)
	}
	report, err := w.builder.Prune(context.Background(), build.PruneRequest{})
	w.must(err)
	if len(report.Caches) != 2 {
		t.Errorf("pruned %q", report.Caches)
	}
	w.mustBuild(f, nil)
	if ran := w.steps.take(); len(ran) != 2 {
		t.Errorf("after a prune: ran %q", ran)
	}
}

// TestCacheLocalOnly: an image that says it was built by the same steps is no cache (CVE-2024-24557).
func TestCacheLocalOnly(t *testing.T) {
	w := newWorld(t)
	f := files{"Dockerfile": "FROM base\nRUN echo one > /one\n"}
	img, _ := w.mustBuild(f, func(r *build.Request) { r.Tags = []string{"built"} })
	var saved bytes.Buffer
	w.must(w.images.Save(context.Background(), &saved, []string{"built"}))
	other := newWorld(t)
	_, err := other.images.Load(context.Background(), &saved, nil)
	other.must(err)
	if _, err := other.images.Get(img.ID.String()); err != nil {
		t.Fatal(err)
	}
	other.mustBuild(f, nil)
	if ran := other.steps.take(); len(ran) != 1 {
		t.Errorf("a loaded image was taken for a cache: ran %q", ran)
	}
}
