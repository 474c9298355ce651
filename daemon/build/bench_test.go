package build_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"pier/daemon/build"
	"pier/daemon/engine"
	"pier/kernel/fsroot"
)

// touch is a step that costs nothing: it writes one file and returns, so that what is measured is the builder's own work.
type touch struct{ n int }

func (s *touch) Step(_ context.Context, r engine.StepRequest) (int, error) {
	s.n++
	f, err := fsroot.FromFile(r.Rootfs).OpenFile(fmt.Sprintf("/made-%d", s.n), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	return 0, f.Close()
}

// benchFiles is the build of the promise: 8 RUN and 2 COPY steps.
func benchFiles() files {
	f := files{}
	var d strings.Builder
	d.WriteString("FROM base\nWORKDIR /app\nCOPY package.json ./\n")
	for i := range 4 {
		fmt.Fprintf(&d, "RUN echo %d > /f%d\n", i, i)
	}
	d.WriteString("COPY src ./src\n")
	for i := range 4 {
		fmt.Fprintf(&d, "RUN echo %d > /g%d\n", i, i)
	}
	f["Dockerfile"], f["package.json"] = d.String(), "{}"
	for i := range 50 {
		f[fmt.Sprintf("src/file-%d.js", i)] = strings.Repeat("x", 2000)
	}
	return f
}

func benchWorld(b *testing.B) (*world, *build.Builder) {
	w := newWorld(b)
	builder, err := build.Open(build.Options{Root: w.dir + "/build2", Images: w.images, Layers: w.layers, Steps: &touch{}, Records: w.db})
	w.must(err)
	b.Cleanup(func() { w.must(builder.Close()) })
	return w, builder
}

func benchmark(b *testing.B, noCache bool) {
	w, builder := benchWorld(b)
	f := benchFiles()
	run := func(noCache bool) {
		_, err := builder.Build(context.Background(), build.Request{Context: contextTar(b, f), NoCache: noCache, Tags: []string{"bench"}})
		w.must(err)
	}
	run(false)
	for b.Loop() {
		run(noCache)
	}
}

func BenchmarkUncached(b *testing.B) { benchmark(b, true) }
func BenchmarkCached(b *testing.B)   { benchmark(b, false) }

// BenchmarkCopy copies many small files from the context, and from there from stage to stage.
func BenchmarkCopy(b *testing.B) {
	const count = 5000
	w, builder := benchWorld(b)
	for name, df := range map[string]string{
		"context": "FROM scratch\nCOPY . /app\n",
		"stage":   "FROM scratch AS one\nCOPY . /app\nFROM scratch\nCOPY --from=one /app /app\n",
	} {
		f := files{"Dockerfile": df}
		for i := range count {
			f[fmt.Sprintf("node_modules/pkg-%d/lib/file-%d.js", i/20, i)] = strings.Repeat("x", 3000)
		}
		tar := contextTar(b, f).Bytes()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := builder.Build(context.Background(), build.Request{Context: bytes.NewReader(tar), NoCache: true, Tags: []string{"bench"}})
				w.must(err)
			}
		})
	}
}
