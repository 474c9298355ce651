package registry_test

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
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/registry"
	"pier/daemon/registry/registrytest"
	"pier/daemon/store/blob"
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

func session(t testing.TB, host, repo, credentials string) *registry.Session {
	t.Helper()
	name, err := reference.ParseNamed(host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	s, err := registry.NewClient(registry.ClientOptions{}).Open(context.Background(), name, credentials)
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
		host := registrytest.Start(t, func(h http.Handler) http.Handler { c.next = h; return c })
		data := random(tt.size)
		d := registrytest.PushBlob(t, host, "a/b", data)
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
		if tt.size > registry.ParallelFrom && c.ranges() < tt.size/registry.ChunkSize/2 {
			t.Errorf("%+v: only %d ranges", tt, c.ranges())
		}
	}
}

func TestFetchGoesOnAfterARestart(t *testing.T) {
	c := &cutter{after: 600_000}
	host := registrytest.Start(t, func(h http.Handler) http.Handler { c.next = h; return c })
	data := random(1 << 20)
	d := registrytest.PushBlob(t, host, "a/b", data)
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
		host := registrytest.Start(t, func(h http.Handler) http.Handler { c.next = h; return c })
		d := registrytest.PushBlob(t, host, "a/b", random(size))
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
	host := registrytest.Start(t, func(h http.Handler) http.Handler {
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

func TestBearerToken(t *testing.T) {
	var realm string
	host := registrytest.Start(t, func(h http.Handler) http.Handler {
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
	d := ocispec.Descriptor{Digest: registrytest.PushBlob(t, host, "a/b", data), Size: 1000}
	good := encode(t, map[string]string{"username": "u", "password": "p", "serveraddress": host})
	if err := session(t, host, "a/b", good).Fetch(context.Background(), blobs(t), d, nil); err != nil {
		t.Error(err)
	}
	bad := encode(t, map[string]string{"username": "u", "password": "wrong"})
	if err := session(t, host, "a/b", bad).Fetch(context.Background(), blobs(t), d, nil); !errkind.Is(err, errkind.Unauthorized) {
		t.Errorf("a wrong password: %v", err)
	}
	name, _ := reference.ParseNamed(host + "/a/b")
	if _, err := registry.NewClient(registry.ClientOptions{}).Open(context.Background(), name, "{not base64"); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("bad header: %v", err)
	}
}
