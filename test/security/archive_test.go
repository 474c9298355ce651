package security

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostile are archives that try to reach a file of the host (CVE-2021-32760, CVE-2025-47290, CVE-2026-17106, CVE-2025-11395,
// CVE-2021-29136).
func (w *world) hostile() map[string][]entry {
	host := filepath.Dir(w.canary)
	up := strings.Repeat("../", 20)
	hard := func(name, target string) entry {
		return entry{name: name, link: target, kind: tar.TypeLink, mode: 0o777}
	}
	evil := func(name string) entry { return entry{name: name, body: "evil", mode: 0o6777} }
	return map[string][]entry{
		"dotdot":           {evil(up + w.canary[1:])},
		"absolute":         {evil(w.canary)},
		"inner dotdot":     {evil("a/b/" + up + w.canary[1:])},
		"through link":     {symlink("a", host), evil("a/canary")},
		"through up link":  {symlink("a", up+host[1:]), evil("a/canary")},
		"over link":        {symlink("a", w.canary), evil("a")},
		"root link":        {symlink(".", host), evil("canary")},
		"slash link":       {symlink("/", host), evil("canary")},
		"hard link":        {hard("a", w.canary), evil("a")},
		"hard link up":     {hard("a", up+w.canary[1:]), evil("a")},
		"hard link links":  {symlink("l", host), hard("a", "l/canary"), evil("a")},
		"hard link chmod":  {symlink("l", w.canary), hard("a", "l"), {name: "a", kind: tar.TypeReg, mode: 0o777, body: "evil"}},
		"whiteout":         {evil(up + host[1:] + "/.wh.canary")},
		"whiteout link":    {symlink("a", host), evil("a/.wh.canary")},
		"opaque link":      {symlink("a", host), evil("a/.wh..wh..opq")},
		"whiteout dots":    {evil(".wh...")},
		"whiteout nothing": {evil(".wh.")},
		"folder link":      {dir("d"), symlink("d", host), dir("d"), evil("d/canary")},
		"swap":             {dir("d"), dir("d/e"), symlink("d/e", up+host[1:]), evil("d/e/canary")},
		"overlay xattr":    {{name: "a", body: "x", mode: 0o644, records: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": host}}, {name: "b/", kind: tar.TypeDir, mode: 0o755, records: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": host, "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.redirect": host}}},
		"long name":        {evil(strings.Repeat("x/", 3000) + "a")},
		"long part":        {evil(strings.Repeat("x", 300))},
		"zero byte":        {{name: "a", body: "x", mode: 0o644, records: map[string]string{"path": "a\x01b"}}},
		"same twice":       {evil("a"), dir("a"), evil("a"), symlink("a", "a"), evil("a/a")},
	}
}

// TestArchives feeds hostile archives to import, load and the builder.
func TestArchives(t *testing.T) {
	w := start(t)
	before := len(w.files())
	for name, entries := range w.hostile() {
		w.sub("import "+name, func(w *world) {
			w.refusedOr(w.request("POST", "/images/create?fromSrc=-&repo=evil&tag=latest", bytes.NewReader(archive(w.t, entries...))))
			w.run("evil", "true") // mounts what came of it
		})
		w.sub("layer "+name, func(w *world) {
			w.refusedOr(w.request("POST", "/images/load", bytes.NewReader(w.layered("evil-layer", archive(w.t, dir("d"), text("d/x", "x")), archive(w.t, entries...)))))
			w.run("evil-layer", "/none")
		})
		w.sub("load "+name, func(w *world) {
			w.refusedOr(w.request("POST", "/images/load", bytes.NewReader(archive(w.t, entries...))))
		})
		w.sub("context "+name, func(w *world) {
			context := archive(w.t, append([]entry{text("Dockerfile", "FROM scratch\nCOPY . /\n")}, entries...)...)
			w.refusedOr(w.request("POST", "/build?t=evil-context", bytes.NewReader(context)))
		})
		w.sub("add "+name, func(w *world) {
			context := archive(w.t, text("Dockerfile", "FROM busybox\nADD a.tar /\nADD a.tar /x/\n"), text("a.tar", string(archive(w.t, entries...))))
			w.refusedOr(w.request("POST", "/build?t=evil-add", bytes.NewReader(context)))
		})
	}
	// CVE-2026-114236. What was unpacked is removed in the background, with a descriptor for every level of a deep tree.
	w.Eventually("descriptors as before", func() error {
		if after := len(w.files()); after > before+12 {
			return fmt.Errorf("pierd had %d descriptors and has %d", before, after)
		}
		return nil
	})
}

func (w *world) files() []os.DirEntry {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.Pid()))
	w.check(err)
	return list
}

// refusedOr accepts any answer but a failure of the daemon itself.
func (w *world) refusedOr(status int, text string) {
	w.t.Helper()
	if status >= 500 && status != 501 || strings.Contains(text, "panic") {
		w.t.Errorf("answer %d %s", status, text)
	}
}

// layered is a Docker archive of an image with these layers.
func (w *world) layered(name string, layers ...[]byte) []byte {
	w.t.Helper()
	var entries []entry
	var diffs, paths []string
	for i, l := range layers {
		sum := sha256.Sum256(l)
		diffs = append(diffs, "sha256:"+hex.EncodeToString(sum[:]))
		paths = append(paths, fmt.Sprintf("%d/layer.tar", i))
		entries = append(entries, text(paths[i], string(l)))
	}
	config, err := json.Marshal(object{"architecture": "amd64", "os": "linux", "rootfs": object{"type": "layers", "diff_ids": diffs}, "config": object{"Cmd": []string{"x"}}})
	w.check(err)
	manifest, err := json.Marshal([]object{{"Config": "config.json", "RepoTags": []string{name + ":latest"}, "Layers": paths}})
	w.check(err)
	return archive(w.t, append(entries, text("config.json", string(config)), text("manifest.json", string(manifest)))...)
}

// TestHostileMetadata gives images names, digests and configurations that are paths or lie (CVE-2024-3727, CVE-2021-41190,
// CVE-2022-23648, CVE-2026-50195, GO-2026-6597).
func TestHostileMetadata(t *testing.T) {
	w := start(t)
	layer := archive(t, text("x", "x"))
	sum := sha256.Sum256(layer)
	diff := "sha256:" + hex.EncodeToString(sum[:])
	config := func(more string) string {
		return `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + diff + `"]}` + more + `}`
	}
	load := func(manifest, config string, more ...entry) []byte {
		return archive(t, append(more, text("layer.tar", string(layer)), text("config.json", config), text("manifest.json", manifest))...)
	}
	plain := `[{"Config":"config.json","RepoTags":["evil:latest"],"Layers":["layer.tar"]}]`
	for name, data := range map[string][]byte{
		"config path":    load(`[{"Config":"../../../../../../etc/passwd","Layers":["layer.tar"]}]`, config("")),
		"config link":    load(`[{"Config":"link","Layers":["layer.tar"]}]`, config(""), symlink("link", w.canary)),
		"layer path":     load(`[{"Config":"config.json","Layers":["`+w.canary+`"]}]`, config("")),
		"layer link":     load(`[{"Config":"config.json","Layers":["link"]}]`, config(""), symlink("link", w.canary)),
		"tag path":       load(`[{"Config":"config.json","RepoTags":["../../evil:latest"],"Layers":["layer.tar"]}]`, config("")),
		"tag control":    load(`[{"Config":"config.json","RepoTags":["evil\n:latest"],"Layers":["layer.tar"]}]`, config("")),
		"tag id":         load(`[{"Config":"config.json","RepoTags":["`+strings.Repeat("a", 64)+`"],"Layers":["layer.tar"]}]`, config("")),
		"diff path":      load(plain, strings.Replace(config(""), diff, "sha256:../../../../etc", 1)),
		"diff other":     load(plain, strings.Replace(config(""), diff, "sha256:"+strings.Repeat("0", 64), 1)),
		"diff md5":       load(plain, strings.Replace(config(""), diff, "md5:"+strings.Repeat("0", 32), 1)),
		"no layers":      load(`[{"Config":"config.json","RepoTags":["evil:latest"],"Layers":[]}]`, config("")),
		"deep json":      load(strings.Repeat("[", 200000), config("")),
		"null manifest":  load("[null]", config("")),
		"null config":    load(plain, "null"),
		"huge config":    load(plain, `{"x":"`+strings.Repeat("a", 20<<20)+`"}`),
		"many layers":    load(`[{"Config":"config.json","Layers":[`+strings.Repeat(`"layer.tar",`, 5000)+`"layer.tar"]}]`, config("")),
		"oci both":       archive(t, text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), text("index.json", `{"schemaVersion":2,"manifests":[],"layers":[{"digest":"`+diff+`","size":3,"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`)),
		"oci path":       archive(t, text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), text("index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../../../../../`+w.canary+`","size":3,"mediaType":"application/vnd.oci.image.manifest.v1+json"}]}`)),
		"oci size":       archive(t, text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), text("index.json", `{"schemaVersion":2,"manifests":[{"digest":"`+diff+`","size":-1,"mediaType":"application/vnd.oci.image.manifest.v1+json"}]}`), text("blobs/sha256/"+diff[7:], string(layer))),
		"not an archive": bytes.Repeat([]byte("x"), 4096),
		"nothing":        {},
		"gzip of gzip":   squeeze(t, squeeze(t, layer)),
	} {
		w.sub(name, func(w *world) {
			status, text := w.request("POST", "/images/load", bytes.NewReader(data))
			w.refusedOr(status, text)
			if strings.Contains(text, secret) || status == 200 && !strings.Contains(text, "rror") && !strings.HasPrefix(name, "no layers") {
				w.t.Errorf("answer %d %s", status, text)
			}
		})
	}
	for name, more := range map[string]string{
		"volume up":      `,"config":{"Volumes":{"/../../../../etc":{},"../../x":{},"relative":{}}}`,
		"volume link":    `,"config":{"Volumes":{"/link/x":{}}}`,
		"working dir":    `,"config":{"WorkingDir":"../../../../../tmp/evil-pier-dir"}`,
		"user":           `,"config":{"User":"root\nevil"}`,
		"env":            `,"config":{"Env":["A=b\u0000c","=","LD_PRELOAD=/x"]}`,
		"labels":         `,"config":{"Labels":{"io.pier.privileged":"true"}},"host_config":{"Privileged":true},"container_config":{"Privileged":true}`,
		"stop signal":    `,"config":{"StopSignal":"SIGKILL; rm -rf /"}`,
		"ports":          `,"config":{"ExposedPorts":{"99999/tcp":{},"../x":{}}}`,
		"health":         `,"config":{"Healthcheck":{"Test":["CMD"],"Interval":1}}`,
		"null":           `,"config":null`,
		"history":        `,"history":[{"empty_layer":true},{"empty_layer":false},{"created_by":"x"},{"created_by":"y"}]`,
		"wrong platform": `,"os":"windows"`,
	} {
		w.sub("config "+name, func(w *world) {
			w.refusedOr(w.request("POST", "/images/load", bytes.NewReader(load(plain, config(more), symlink("link", filepath.Dir(w.canary))))))
			w.refusedOr(w.request("GET", "/images/evil/json", nil))
			w.refusedOr(w.request("GET", "/images/evil/history", nil))
			w.run("evil", "/none")
			w.run("--privileged=false", "evil", "/none")
			w.request("DELETE", "/images/evil?force=1", nil)
		})
	}
	if _, err := os.Lstat("/tmp/evil-pier-dir"); err == nil {
		t.Error("a working directory was made on the host")
	}
	for _, name := range []string{"../x", "..", "a/../../b", "sha256:../../x", "sha256:" + strings.Repeat("g", 64), "%2e%2e%2fx", "a%00b", "A", strings.Repeat("a/", 500) + "b", "x@sha256:..", "-x", "a:b:c", "a:" + strings.Repeat("t", 200)} {
		for _, r := range [][2]string{{"GET", "/images/%s/json"}, {"DELETE", "/images/%s"}, {"GET", "/images/%s/get"}, {"POST", "/images/%s/tag?repo=x&tag=y"}, {"POST", "/images/busybox/tag?repo=%s&tag=y"},
			{"GET", "/containers/%s/json"}, {"DELETE", "/containers/%s"}, {"GET", "/containers/%s/logs?stdout=1"}, {"POST", "/containers/create?name=%s"}, {"POST", "/containers/busybox/rename?name=%s"}, {"GET", "/exec/%s/json"},
			{"GET", "/volumes/%s"}, {"DELETE", "/volumes/%s"}, {"GET", "/networks/%s"}, {"DELETE", "/networks/%s"}} {
			status, text, err := w.try(r[0], fmt.Sprintf(r[1], name), object{"Image": "none"})
			if err != nil || status < 300 || status >= 500 && status != 501 {
				t.Errorf("%s %s: %d %s %v", r[0], fmt.Sprintf(r[1], name), status, text, err)
			}
		}
	}
	for _, name := range []string{"../x", "..", ".", "a/b", "a\x00b", "", " ", strings.Repeat("a", 300), "_fresh", "-x", "a\n"} {
		for path, body := range map[string]object{"/volumes/create": {"Name": name}, "/networks/create": {"Name": name}} {
			if status, text := w.request("POST", path, body); status < 300 && (name != "" || path != "/volumes/create") && !strings.HasPrefix(path, "/networks") || status >= 500 {
				t.Errorf("%s with %q: %d %s", path, name, status, text)
			}
		}
	}
	w.intact()
}

func squeeze(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBombs unpacks what is small when packed and without end when not; metadata must not, memory must stay bounded
// (CVE-2023-25153, CVE-2021-20291).
func TestBombs(t *testing.T) {
	w := start(t)
	zeros := make([]byte, 256<<20)
	for name, data := range map[string][]byte{
		"manifest": squeeze(t, archive(t, text("manifest.json", string(zeros)))),
		"index":    squeeze(t, archive(t, text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), text("index.json", string(zeros)))),
	} {
		w.thrifty(3*time.Second, func() {
			status, text := w.request("POST", "/images/load", bytes.NewReader(data))
			if status < 400 && !strings.Contains(text, "rror") {
				t.Errorf("%s: %d %s", name, status, text)
			}
		})
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Pid()))
	w.check(err)
	for line := range strings.Lines(string(b)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 && kb > 200<<10 {
			t.Errorf("pierd took %d MiB", kb>>10)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.Dir, "data", "images", "spool", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
