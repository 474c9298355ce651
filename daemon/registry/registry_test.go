package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/store/blob"
	"pier/daemon/store/record"
	"pier/lib/errkind"
)

func blobs(t testing.TB) *blob.Store {
	t.Helper()
	s, err := blob.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve starts a registry on loopback, with wrap around it.
func serve(t testing.TB, wrap func(http.Handler) http.Handler) (host string, s *Server) {
	t.Helper()
	db, err := record.Open(filepath.Join(t.TempDir(), "db"), record.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(ServerOptions{Blobs: blobs(t), Records: db})
	h := http.Handler(s)
	if wrap != nil {
		h = wrap(s)
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		_ = s.Close()
		_ = db.Close()
	})
	return strings.TrimPrefix(server.URL, "http://"), s
}

// call makes one request and returns the answer with its body.
func call(t testing.TB, method, url string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

func push(t testing.TB, host, repo string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	resp, answer := call(t, http.MethodPost, "http://"+host+"/v2/"+repo+"/blobs/uploads/?digest="+d.String(), data)
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("push: %s %s", resp.Status, answer)
	}
	return d
}

func session(t testing.TB, host, repo, credentials string) *Session {
	t.Helper()
	name, err := reference.ParseNamed(host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewClient(ClientOptions{}).Open(context.Background(), name, credentials)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = r.Read(b)
	return b
}

// cutter ends the first cuts blob answers after a number of bytes, by closing the connection.
type cutter struct {
	next  http.Handler
	cuts  atomic.Int64
	after int64
	seen  sync.Map
	flip  bool // change one byte instead
}

type cutWriter struct {
	http.ResponseWriter
	left int64
	flip bool
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.flip && len(p) > 10 {
		c.flip = false
		p = bytes.Clone(p)
		p[5] ^= 1
	}
	if c.left >= 0 && int64(len(p)) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(p)
	if c.left >= 0 {
		c.left -= int64(n)
	}
	return n, err
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/blobs/sha256:") {
		c.next.ServeHTTP(w, r)
		return
	}
	c.seen.Store(r.Header.Get("Range"), true)
	cw := &cutWriter{ResponseWriter: w, left: -1, flip: c.flip}
	if c.cuts.Add(-1) >= 0 {
		cw.left = c.after
	}
	c.next.ServeHTTP(cw, r)
}

func (c *cutter) ranges() int {
	n := 0
	c.seen.Range(func(any, any) bool { n++; return true })
	return n
}

func TestFetchThroughBadConnections(t *testing.T) {
	for _, tt := range []struct {
		size, cuts int
	}{{1 << 20, 0}, {1 << 20, 3}, {40 << 20, 0}, {40 << 20, 5}} {
		c := &cutter{after: 300_000}
		host, _ := serve(t, func(h http.Handler) http.Handler { c.next = h; return c })
		data := random(tt.size)
		d := push(t, host, "a/b", data)
		c.cuts.Store(int64(tt.cuts))
		store := blobs(t)
		var last int64
		err := session(t, host, "a/b", "").Fetch(context.Background(), store, ocispec.Descriptor{Digest: d, Size: int64(tt.size)}, func(done int64) {
			if done < last {
				t.Errorf("progress went back from %d to %d", last, done)
			}
			last = done
		})
		if err != nil || last != int64(tt.size) {
			t.Errorf("%+v: %v, progress %d", tt, err, last)
		}
		got, err := store.Read(d, 1<<30)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%+v: content differs: %v", tt, err)
		}
		if tt.size > parallelFrom && c.ranges() < tt.size/chunkSize/2 {
			t.Errorf("%+v: only %d ranges", tt, c.ranges())
		}
	}
}

func TestFetchGoesOnAfterARestart(t *testing.T) {
	c := &cutter{after: 600_000}
	host, _ := serve(t, func(h http.Handler) http.Handler { c.next = h; return c })
	data := random(1 << 20)
	d := push(t, host, "a/b", data)
	dir := filepath.Join(t.TempDir(), "blobs")
	store, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.cuts.Store(1)
	ctx, cancel := context.WithCancel(context.Background())
	err = session(t, host, "a/b", "").Fetch(ctx, store, ocispec.Descriptor{Digest: d, Size: 1 << 20}, func(done int64) {
		if done > 400_000 {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("the fetch was not interrupted")
	}
	store, err = blob.Open(dir) // the next life
	if err != nil {
		t.Fatal(err)
	}
	first := int64(-1)
	err = session(t, host, "a/b", "").Fetch(context.Background(), store, ocispec.Descriptor{Digest: d, Size: 1 << 20}, func(done int64) {
		if first < 0 {
			first = done
		}
	})
	if err != nil || first <= 400_000 {
		t.Errorf("error %v, began at %d", err, first)
	}
}

func TestFetchRefusesOtherContent(t *testing.T) {
	for _, size := range []int{1 << 20, 20 << 20} {
		c := &cutter{flip: true}
		host, _ := serve(t, func(h http.Handler) http.Handler { c.next = h; return c })
		d := push(t, host, "a/b", random(size))
		store := blobs(t)
		err := session(t, host, "a/b", "").Fetch(context.Background(), store, ocispec.Descriptor{Digest: d, Size: int64(size)}, nil)
		if !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if _, err := store.Size(d); err == nil {
			t.Errorf("%d bytes: the blob is stored", size)
		}
		c.flip = false // and what was bad does not stay in the way
		if err := session(t, host, "a/b", "").Fetch(context.Background(), store, ocispec.Descriptor{Digest: d, Size: int64(size)}, nil); err != nil {
			t.Errorf("%d bytes: again: %v", size, err)
		}
	}
}

func encode(t testing.TB, fields map[string]string) string {
	t.Helper()
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(raw)
}

// TestCredentialsStayWithTheirHost: a registry that asks for a token from, or redirects to, somebody else.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	var leaked atomic.Value
	leaked.Store("")
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked.Store(a)
		}
		_, _ = io.WriteString(w, "stolen")
	}))
	defer thief.Close()
	thiefURL := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	challenge := `Basic realm="x"`
	blob := []byte("stolen")
	host, _ := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Authorization") == "" && r.URL.Path != "/v2/":
				w.Header().Set("Www-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
			case strings.Contains(r.URL.Path, "/blobs/"):
				http.Redirect(w, r, thiefURL, http.StatusTemporaryRedirect)
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	d := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	auth := encode(t, map[string]string{"username": "u", "password": "secret"})
	if err := session(t, host, "a/b", auth).Fetch(context.Background(), blobs(t), d, nil); err != nil {
		t.Fatal(err)
	}
	if a := leaked.Load(); a != "" {
		t.Errorf("the redirect carried %q", a)
	}
	// A realm of another organisation.
	challenge = `Bearer realm="https://token.thief.example/token",service="x"`
	err := session(t, host, "a/b", auth).Fetch(context.Background(), blobs(t), d, nil)
	if !errkind.Is(err, errkind.Forbidden) || !strings.Contains(err.Error(), "thief.example") {
		t.Errorf("foreign realm: %v", err)
	}
	// Credentials for somebody else are not used at all.
	challenge = `Basic realm="x"`
	other := encode(t, map[string]string{"username": "u", "password": "secret", "serveraddress": "https://index.docker.io/v1/"})
	_, _, err = session(t, host, "a/b", other).Manifest(context.Background(), "latest")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("credentials of another server: %v", err)
	}
}

func TestRelatedHosts(t *testing.T) {
	for _, tt := range []struct {
		registry, realm string
		want            bool
	}{
		{"registry-1.docker.io", "auth.docker.io", true}, {"ghcr.io", "ghcr.io", true}, {"registry.gitlab.com", "gitlab.com", true},
		{"ghcr.io", "evil.io", false}, {"a.example.com", "b.example.org", false}, {"a.co.uk", "b.co.uk", false}, {"x.a.co.uk", "y.a.co.uk", true},
		{"localhost:5000", "127.0.0.1", true}, {"r.example.com:5000", "localhost", false}, {"quay.io", "io", false},
	} {
		if got := (&guard{host: tt.registry}).related(tt.realm); got != tt.want {
			t.Errorf("related(%s, %s) = %v", tt.registry, tt.realm, got)
		}
	}
}

func TestBearerToken(t *testing.T) {
	var realm string
	host, _ := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				user, password, _ := r.BasicAuth()
				if user != "u" || password != "p" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				fmt.Fprintf(w, `{"token":"t-%s"}`, r.URL.Query().Get("scope"))
			case r.Header.Get("Authorization") == "Bearer t-repository:a/b:pull", r.Method == http.MethodPost:
				h.ServeHTTP(w, r)
			default:
				w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="reg"`, realm))
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
	})
	realm = "http://" + host + "/token"
	data := random(1000)
	d := ocispec.Descriptor{Digest: push(t, host, "a/b", data), Size: 1000}
	good := encode(t, map[string]string{"username": "u", "password": "p", "serveraddress": host})
	if err := session(t, host, "a/b", good).Fetch(context.Background(), blobs(t), d, nil); err != nil {
		t.Error(err)
	}
	bad := encode(t, map[string]string{"username": "u", "password": "wrong"})
	if err := session(t, host, "a/b", bad).Fetch(context.Background(), blobs(t), d, nil); !errkind.Is(err, errkind.Unauthorized) {
		t.Errorf("a wrong password: %v", err)
	}
	name, _ := reference.ParseNamed(host + "/a/b")
	if _, err := NewClient(ClientOptions{}).Open(context.Background(), name, "{not base64"); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("bad header: %v", err)
	}
}

func TestServer(t *testing.T) {
	host, s := serve(t, nil)
	base := "http://" + host + "/v2/"
	config, layer := []byte(`{"os":"linux"}`), random(5000)
	// In pieces, with a status request between.
	resp, _ := call(t, http.MethodPost, base+"team/app/blobs/uploads/", nil)
	at := "http://" + host + resp.Header.Get("Location")
	call(t, http.MethodPatch, at, layer[:2000])
	if resp, _ := call(t, http.MethodGet, at, nil); resp.Header.Get("Range") != "0-1999" {
		t.Errorf("status: %v", resp.Header)
	}
	if resp, _ := call(t, http.MethodPatch, at, layer[:10], "Content-Range", "5-14"); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("wrong offset: %s", resp.Status)
	}
	ld := digest.FromBytes(layer)
	if resp, _ := call(t, http.MethodPut, at+"?digest="+ld.String(), layer[2000:]); resp.StatusCode != http.StatusCreated {
		t.Errorf("put: %s", resp.Status)
	}
	manifest, _ := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: ld, Size: 5000}}})
	put := func() int {
		resp, _ := call(t, http.MethodPut, base+"team/app/manifests/v1", manifest, "Content-Type", ocispec.MediaTypeImageManifest)
		return resp.StatusCode
	}
	if code := put(); code != http.StatusBadRequest {
		t.Errorf("manifest without its config: %d", code)
	}
	push(t, host, "team/app", config)
	if code := put(); code != http.StatusCreated {
		t.Errorf("manifest: %d", code)
	}
	md := digest.FromBytes(manifest)
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
		body         string
	}{
		{http.MethodGet, "", nil, 200, "{}"},
		{http.MethodGet, "team/app/manifests/v1", nil, 200, string(manifest)},
		{http.MethodHead, "team/app/manifests/" + md.String(), nil, 200, ""},
		{http.MethodGet, "team/app/manifests/v2", nil, 404, ""},
		{http.MethodGet, "team/app/blobs/" + ld.String(), []string{"Range", "bytes=10-19"}, 206, string(layer[10:20])},
		{http.MethodGet, "other/app/blobs/" + ld.String(), nil, 404, ""}, // pushed to another repository
		{http.MethodGet, "team/app/blobs/sha256:..%2f..%2fetc", nil, 400, ""},
		{http.MethodGet, "team/app/tags/list?n=1000000000", nil, 200, `{"name":"team/app","tags":["v1"]}` + "\n"},
		{http.MethodGet, "UPPER/manifests/v1", nil, 400, ""},
		{http.MethodGet, "team/app/manifests/-bad", nil, 400, ""},
		{http.MethodPost, "other/app/blobs/uploads/?mount=" + ld.String() + "&from=team/app", nil, 201, ""},
		{http.MethodGet, "other/app/blobs/" + ld.String(), nil, 200, string(layer)},
		{http.MethodPut, "team/app/blobs/uploads/none?digest=" + ld.String(), nil, 404, ""},
		{http.MethodDelete, "team/app/manifests/" + md.String(), nil, 202, ""},
		{http.MethodGet, "team/app/manifests/v1", nil, 404, ""},
		{http.MethodGet, "team/app/tags/list", nil, 200, `{"name":"team/app","tags":[]}` + "\n"},
	} {
		resp, body := call(t, tt.method, base+tt.path, nil, tt.header...)
		if resp.StatusCode != tt.status || tt.body != "" && string(body) != tt.body {
			t.Errorf("%s %s: %s %.100s", tt.method, tt.path, resp.Status, body)
		}
	}
	bad := append(bytes.TrimSuffix(bytes.Clone(manifest), []byte("}")), `,"manifests":[]}`...)
	if resp, _ := call(t, http.MethodPut, base+"team/app/manifests/v1", bad, "Content-Type", ocispec.MediaTypeImageManifest); resp.StatusCode != 400 {
		t.Errorf("ambiguous manifest: %s", resp.Status)
	}
	call(t, http.MethodPost, base+"team/app/blobs/uploads/", nil) // never finished
	if err := s.Close(); err != nil || len(s.uploads) != 0 {
		t.Error(err)
	}
}

func TestParseManifest(t *testing.T) {
	d := digest.FromString("x").String()
	for _, tt := range []struct {
		name, raw, mediaType string
		kind                 errkind.Kind
	}{
		{"both", `{"schemaVersion":2,"manifests":[],"layers":[]}`, "", errkind.Invalid},
		{"both, config", `{"schemaVersion":2,"manifests":[],"config":{}}`, "", errkind.Invalid},
		{"index called manifest", `{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageManifest, errkind.Invalid},
		{"manifest called index", `{"schemaVersion":2,"config":{"digest":"` + d + `"},"layers":[]}`, ocispec.MediaTypeImageIndex, errkind.Invalid},
		{"disagreement", `{"schemaVersion":2,"mediaType":"` + MediaTypeDockerManifest + `","config":{"digest":"` + d + `"},"layers":[]}`, ocispec.MediaTypeImageManifest, errkind.Invalid},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "", errkind.Unsupported},
		{"bad digest", `{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[]}`, "", errkind.Invalid},
		{"negative size", `{"schemaVersion":2,"config":{"digest":"` + d + `","size":-1},"layers":[]}`, "", errkind.Invalid},
		{"not json", `<html>`, "", errkind.Invalid},
	} {
		if _, err := ParseManifest([]byte(tt.raw), tt.mediaType); err == nil || errkind.Of(err) != tt.kind {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestIndexesWithoutEnd(t *testing.T) {
	// Each index names twenty more, for ever.
	fetched := 0
	_, err := Choose(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString(grown(0))}, ocispec.Platform{OS: "linux", Architecture: "amd64"},
		func(d ocispec.Descriptor) ([]byte, error) {
			fetched++
			return []byte(grown(int(d.Size))), nil
		})
	if !errkind.Is(err, errkind.Invalid) || fetched > maxIndexNodes {
		t.Errorf("error %v after %d documents", err, fetched)
	}
}

// grown is an index of depth n that names others of depth n+1.
func grown(n int) string {
	if n > 8 {
		return `{"schemaVersion":2,"manifests":[]}`
	}
	next := grown(n + 1)
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, ocispec.MediaTypeImageIndex, digest.FromString(next), n+1)
	return `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(entry+",", 20), ",") + `]}`
}
