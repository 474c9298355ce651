package build_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"pier/daemon/build"
	"pier/lib/errkind"
)

// archive makes a tar of headers; the content of a regular file is in Linkname.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestAddArchive(t *testing.T) {
	w := newWorld(t)
	plain := archive(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "d", Uid: 5, Gid: 6},
		tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Linkname: "content", Mode: 0o4750},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "d/abs", Linkname: "/etc/passwd"},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "d/f"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"},
	)
	var packed bytes.Buffer
	z, err := xz.NewWriter(&packed)
	w.must(err)
	_, err = z.Write(plain)
	w.must(err)
	w.must(z.Close())
	f := files{
		"Dockerfile": "FROM base\nADD a.tar /plain/\nADD --chown=7:8 a.tar.gz /gz\nADD a.tar.xz /xz/\nADD bad.gz text /rest/\nCOPY a.tar /copied/\n",
		"a.tar":      string(plain), "a.tar.gz": string(gzipped(t, plain)), "a.tar.xz": packed.String(),
		"bad.gz": "\x1f\x8bnot", "text": "t",
	}
	img, _ := w.mustBuild(f, nil)
	got := w.sh(img, `for d in plain gz xz; do cat $d/hard; stat -c '%n %u:%g %a' $d/d $d/d/f; readlink $d/d/abs; test -p $d/fifo || echo no fifo; done; ls rest copied`)
	want := "content" + "plain/d 5:6 755\nplain/d/f 0:0 4750\n/etc/passwd\n" +
		"content" + "gz/d 7:8 755\ngz/d/f 7:8 4750\n/etc/passwd\n" +
		"content" + "xz/d 5:6 755\nxz/d/f 0:0 4750\n/etc/passwd\n" +
		"copied:\na.tar\n\nrest:\nbad.gz\ntext\n"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestAddURL(t *testing.T) {
	w := newWorld(t)
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if r.URL.Path == "/gone" {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		_, _ = io.WriteString(rw, "from the web")
	}))
	defer srv.Close()
	const sum = "sha256:0f44cb9bd4dbe7dcfb19c7d91d2eb8d2a4f2a1c3b5f4e6d7c8b9a0f1e2d3c4b5"
	df := "FROM base\nADD " + srv.URL + "/file.txt /web/\nADD --chmod=644 " + srv.URL + "/x /named\nRUN echo after\n"
	img, _ := w.mustBuild(files{"Dockerfile": df}, nil)
	if got := w.sh(img, "cat /web/file.txt; stat -c ' %a %Y' /web/file.txt; stat -c %a /named"); got != "from the web 600 1445412480\n644\n" {
		t.Errorf("%q", got)
	}
	w.steps.take()
	w.mustBuild(files{"Dockerfile": df}, nil)
	if ran := w.steps.take(); len(ran) != 0 || hits.Load() != 4 {
		t.Errorf("ran %q, %d downloads", ran, hits.Load())
	}
	for url, words := range map[string]string{
		srv.URL + "/gone": "404 Not Found", "--checksum=" + sum + " " + srv.URL + "/x": "its checksum is", "http://127.0.0.1:1/x": "refused",
		"http://user:geheim@127.0.0.1:1/x": "user:xxxxx@",
	} {
		_, _, err := w.build(files{"Dockerfile": "FROM base\nADD " + url + " /x\n"}, nil)
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestHostileContexts: no context reaches the host, whatever its names and links are.
func TestHostileContexts(t *testing.T) {
	w := newWorld(t)
	canary := filepath.Join(t.TempDir(), "canary")
	w.must(os.WriteFile(canary, []byte("host"), 0o600))
	df := tar.Header{Typeflag: tar.TypeReg, Name: "Dockerfile", Linkname: "FROM base\nCOPY . /all\nCOPY thing /thing\n"}
	for name, c := range map[string]struct {
		headers []tar.Header
		words   string // of the error; "" where the build must succeed, harmlessly
	}{
		"dotdot":                      {[]tar.Header{df, {Typeflag: tar.TypeReg, Name: "../../x", Linkname: "y"}}, "leads out of the context"},
		"link name dotdot":            {[]tar.Header{df, {Typeflag: tar.TypeLink, Name: "thing", Linkname: "../../../" + canary}}, "leads out of the context"},
		"hard link to the host":       {[]tar.Header{df, {Typeflag: tar.TypeLink, Name: "thing", Linkname: canary}}, "which is not in it"},
		"symlink to the host":         {[]tar.Header{df, {Typeflag: tar.TypeSymlink, Name: "thing", Linkname: canary}}, "file not found in build context"},
		"symlink chain":               {[]tar.Header{df, {Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/"}, {Typeflag: tar.TypeSymlink, Name: "thing", Linkname: "a/" + canary}}, "file not found in build context"},
		"symlink loop":                {[]tar.Header{df, {Typeflag: tar.TypeSymlink, Name: "thing", Linkname: "thing"}}, "too many levels"},
		"through a symlink":           {[]tar.Header{df, {Typeflag: tar.TypeSymlink, Name: "d", Linkname: filepath.Dir(canary)}, {Typeflag: tar.TypeReg, Name: "d/canary", Linkname: "overwritten"}}, "which is not a directory"},
		"file as a directory":         {[]tar.Header{df, {Typeflag: tar.TypeReg, Name: "d", Linkname: "x"}, {Typeflag: tar.TypeReg, Name: "d/e", Linkname: "x"}}, "which is not a directory"},
		"truncated":                   {nil, "cannot locate specified dockerfile"},
		"overlay attributes":          {[]tar.Header{df, {Typeflag: tar.TypeDir, Name: "thing", PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/"}}}, ""},
		"a Dockerfile that is a fifo": {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "Dockerfile"}}, "regular file"},
		"a Dockerfile on the host":    {[]tar.Header{{Typeflag: tar.TypeSymlink, Name: "Dockerfile", Linkname: "/etc/passwd"}}, "cannot locate specified dockerfile"},
		"huge ignore file":            {[]tar.Header{df, {Typeflag: tar.TypeReg, Name: ".dockerignore", Linkname: strings.Repeat("a\n", 1<<20)}}, "regular file of at most"},
		"many ignore rules":           {[]tar.Header{df, {Typeflag: tar.TypeReg, Name: ".dockerignore", Linkname: strings.Repeat("a\n", 20_000)}}, "more than"},
		"huge Dockerfile":             {[]tar.Header{{Typeflag: tar.TypeReg, Name: "Dockerfile", Linkname: strings.Repeat("#\n", 4<<20)}}, "regular file of at most"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			_, _, err := w.build(nil, func(r *build.Request) { r.Context = bytes.NewReader(archive(t, c.headers...)) })
			if c.words == "" {
				return // whether it builds or not: it must not reach the canary, nor panic
			}
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.words)) {
				t.Errorf("error %v, want %q", err, c.words)
			}
			if !errkind.Is(err, errkind.Invalid) {
				t.Errorf("%v is of kind %s", err, errkind.Of(err))
			}
		})
	}
	w.t = t
	if b, err := os.ReadFile(canary); err != nil || string(b) != "host" {
		t.Errorf("canary: %q %v", b, err)
	}
}

// TestHostileStages: links that a stage leaves lead its successors nowhere but into itself.
func TestHostileStages(t *testing.T) {
	w := newWorld(t)
	canary := filepath.Join(t.TempDir(), "canary")
	w.must(os.Mkdir(canary, 0o755))
	w.must(os.WriteFile(filepath.Join(canary, "secret"), []byte("host"), 0o644))
	bad := archive(t,
		tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: canary},
		tar.Header{Typeflag: tar.TypeReg, Name: "out/written", Linkname: "x"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../../../../../../.." + canary},
		tar.Header{Typeflag: tar.TypeReg, Name: "up/written", Linkname: "x"},
	)
	steps := map[string]string{
		"COPY from":           "COPY --from=evil /link/secret /stolen",
		"mount from":          "RUN --mount=type=bind,from=evil,source=/link,target=/m cat /m/secret > /stolen",
		"mount a file from":   "RUN --mount=type=bind,from=evil,source=/link/secret,target=/m cat /m > /stolen",
		"cache from":          "RUN --mount=type=cache,from=evil,source=/link,target=/m,id=x cat /m/secret > /stolen",
		"COPY to":             "RUN ln -s " + canary + " /d\nCOPY a.txt /d/written\nRUN cat /d/secret > /stolen",
		"ADD to":              "RUN ln -s " + canary + " /d\nADD bad.tar /d\nRUN cat /d/secret > /stolen",
		"WORKDIR":             "RUN ln -s " + canary + " /d\nWORKDIR /d/made\nRUN cat /d/secret > /stolen",
		"mount point":         "RUN ln -s " + canary + " /d\nRUN --mount=type=tmpfs,target=/w true\nRUN cat /d/secret > /stolen",
		"cache link":          "RUN --mount=type=cache,target=/c,id=l ln -sfn " + canary + " /c/l\nRUN --mount=type=cache,target=/m,id=l cat /m/l/secret > /stolen",
		"passwd of the host":  "RUN rm /etc/passwd && ln -s /proc/1/root/etc/passwd /etc/passwd\nCOPY --chown=app a.txt /stolen",
		"passwd that is none": "RUN rm /etc/passwd && mkdir /etc/passwd\nCOPY --chown=app a.txt /stolen",
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			w.t = t
			df := "FROM base AS evil\nRUN ln -s " + canary + " /link\nFROM base\n" + step + "\n"
			_, out, err := w.build(files{"Dockerfile": df, "a.txt": "a", "bad.tar": string(bad)}, nil)
			if err == nil {
				t.Errorf("it built:\n%s", out)
			}
		})
	}
	w.t = t
	left, err := os.ReadDir(canary)
	w.must(err)
	if len(left) != 1 {
		t.Errorf("something was written outside: %v", left)
	}
}

// TestCancel ends a build in the middle of two parallel steps; the other build goes on.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	f := files{"Dockerfile": "FROM base AS a\nRUN sleep 86460\nFROM base AS b\nRUN sleep 86461\nFROM base\nCOPY --from=a / /a\nCOPY --from=b / /b\n"}
	done := make(chan error, 1)
	go func() {
		_, err := w.builder.Build(ctx, build.Request{Context: contextTar(t, f)})
		done <- err
	}()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		w.steps.mu.Lock()
		n := len(w.steps.ran)
		w.steps.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the steps did not start in parallel")
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.mustBuild(files{"Dockerfile": "FROM base\nRUN echo other\n"}, nil)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the build did not end")
	}
	if out, _ := exec.Command("/bin/busybox", "pgrep", "-f", "sleep 8646[01]").Output(); len(out) > 0 {
		t.Errorf("processes left: %s", out)
	}
}

// TestShared runs the same build several times at once: each step once.
func TestShared(t *testing.T) {
	w := newWorld(t)
	f := files{"Dockerfile": "FROM base\nRUN sleep 0.2 && echo one > /one\nRUN sleep 0.1 && echo two > /two\n"}
	var ids [4]string
	errs := make(chan error, len(ids))
	for i := range ids {
		go func() {
			res, err := w.builder.Build(context.Background(), build.Request{Context: contextTar(t, f)})
			ids[i] = res.ImageID
			errs <- err
		}()
	}
	for range ids {
		w.must(<-errs)
	}
	if ran := w.steps.take(); len(ran) != 2 {
		t.Errorf("ran %q", ran)
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("images %q", ids)
		}
	}
}

// TestFailureLeavesNothing counts descriptors over failing builds; the world checks the rest.
func TestFailureLeavesNothing(t *testing.T) {
	w := newWorld(t)
	count := func() int {
		w.must(w.layers.Close()) // waits for what is deleted in the background
		fds, err := os.ReadDir("/proc/self/fd")
		w.must(err)
		return len(fds)
	}
	before := 0
	for i := range 12 {
		if i == 2 {
			before = count()
		}
		_, _, err := w.build(files{
			"Dockerfile": "FROM base AS a\nRUN echo x > /x\nFROM base\nCOPY --from=a /x /x\nRUN --mount=type=bind,target=/c --mount=type=cache,target=/d exit 3\n",
			"big":        strings.Repeat("x", 9<<20),
		}, nil)
		var step *build.StepError
		if !errors.As(err, &step) || step.ExitCode != 3 || step.Step != 5 || step.Total != 5 {
			t.Fatal(err)
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestStaleWritables opens the builder after a crash.
func TestStaleWritables(t *testing.T) {
	w := newWorld(t)
	// What a crash in the middle of a build leaves.
	_, err := w.layers.NewWritable("build-0123456789ab-3")
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.dir, "build/running/0123456789ab"), nil, 0o600))
	w.must(os.Mkdir(filepath.Join(w.dir, "build/tmp/mnt/left"), 0o700))
	w.close()
	w.open()
	if _, err := w.layers.Writable("build-0123456789ab-3"); !errkind.Is(err, errkind.NotFound) {
		t.Error("the writable layer is still there:", err)
	}
}

// TestCacheMountSharing: locked steps take turns, also when they want the same two in another order or one twice; private
// ones have a directory each.
func TestCacheMountSharing(t *testing.T) {
	w := newWorld(t)
	two := func(a, b string) string {
		return "RUN --mount=type=cache,id=" + a + ",target=/a,sharing=locked --mount=type=cache,id=" + b + ",target=/b,sharing=locked --mount=type=cache,id=" + a +
			",target=/c,sharing=locked sh -c 'test ! -e /a/busy && touch /a/busy && sleep 0.05 && rm /a/busy'\n"
	}
	df := "FROM base AS one\n" + two("x", "y") + "FROM base AS two\n" + two("y", "x") +
		"FROM base AS three\nRUN --mount=type=cache,id=p,target=/a,sharing=private sh -c 'test ! -e /a/busy && touch /a/busy && sleep 0.1 && rm /a/busy'\n" +
		"FROM base AS four\nRUN --mount=type=cache,id=p,target=/a,sharing=private sh -c 'echo four; test ! -e /a/busy && touch /a/busy && sleep 0.1 && rm /a/busy'\n" +
		"FROM base\nCOPY --from=one / /1\nCOPY --from=two / /2\nCOPY --from=three / /3\nCOPY --from=four / /4\n"
	for range 3 {
		w.mustBuild(files{"Dockerfile": df}, func(r *build.Request) { r.NoCache = true })
	}
	report, err := w.builder.Prune(context.Background(), build.PruneRequest{})
	w.must(err)
	left, err := os.ReadDir(filepath.Join(w.dir, "build/cache"))
	w.must(err)
	if len(left) != 0 || len(report.Caches) < 4 {
		t.Errorf("left %v, pruned %q", left, report.Caches)
	}
}

// TestRacingCacheMount exchanges what a cache mount's source names with a link to the host while builds mount it
// (CVE-2024-23651): a step sees the cache or fails, never the host.
func TestRacingCacheMount(t *testing.T) {
	w := newWorld(t)
	canary := t.TempDir()
	w.must(os.WriteFile(filepath.Join(canary, "secret"), []byte("host"), 0o644))
	w.mustBuild(files{"Dockerfile": "FROM base\nRUN --mount=type=cache,id=race,target=/c mkdir /c/dir && echo cache > /c/dir/secret\n"}, nil)
	data, err := filepath.Glob(filepath.Join(w.dir, "build/cache/*/data"))
	w.must(err)
	if len(data) != 1 {
		t.Fatal(data)
	}
	w.must(os.Symlink(canary, filepath.Join(data[0], "link")))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		dir, link, aside := filepath.Join(data[0], "dir"), filepath.Join(data[0], "link"), filepath.Join(data[0], "aside")
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Rename(dir, aside)
				_ = os.Rename(link, dir)
				_ = os.Rename(dir, link)
				_ = os.Rename(aside, dir)
			}
		}
	}()
	seen := 0
	for range 40 {
		img, _, err := w.build(files{"Dockerfile": "FROM base\nRUN --mount=type=cache,id=race,source=dir,target=/m cat /m/secret > /seen\n"}, func(r *build.Request) { r.NoCache = true })
		if err != nil {
			continue
		}
		built, err := w.images.Get(img.ImageID)
		w.must(err)
		if got := w.sh(built, "cat /seen"); got != "cache\n" {
			t.Fatalf("a step read %q", got)
		}
		seen++
	}
	close(stop)
	<-stopped
	t.Logf("%d of 40 mounts met the directory", seen)
}
