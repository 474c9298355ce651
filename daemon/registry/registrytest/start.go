package registrytest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"pier/daemon/store/blob"
	"pier/daemon/store/record"
)

// Start runs an empty registry until the test is over and returns its host and port. wrap, if not nil, puts something in
// front of it.
func Start(t testing.TB, wrap func(http.Handler) http.Handler) (host string) {
	t.Helper()
	host, _ = start(t, wrap)
	return host
}

func start(t testing.TB, wrap func(http.Handler) http.Handler) (host string, s *server) {
	t.Helper()
	dir := t.TempDir()
	blobs, err := blob.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := record.Open(filepath.Join(dir, "db"), record.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(blobs, db)
	handler := http.Handler(s)
	if wrap != nil {
		handler = wrap(s)
	}
	h := httptest.NewServer(handler)
	t.Cleanup(func() {
		h.Close()
		s.close()
		_ = db.Close()
	})
	return strings.TrimPrefix(h.URL, "http://"), s
}

// Send makes one request below /v2/ of a registry and returns the answer and its whole body. header are names and values.
func Send(t testing.TB, method, host, path string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+host+"/v2/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
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

// PushBlob puts a blob into a repository.
func PushBlob(t testing.TB, host, repo string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	if resp, answer := Send(t, http.MethodPost, host, repo+"/blobs/uploads/?digest="+d.String(), data); resp.StatusCode != http.StatusCreated {
		t.Fatalf("push to %s: %s %s", repo, resp.Status, answer)
	}
	return d
}

// PushManifest puts a manifest into a repository; ref is a tag, or "" for its digest.
func PushManifest(t testing.TB, host, repo, ref, mediaType string, raw []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(raw)
	if ref == "" {
		ref = d.String()
	}
	if resp, answer := Send(t, http.MethodPut, host, repo+"/manifests/"+ref, raw, "Content-Type", mediaType); resp.StatusCode != http.StatusCreated {
		t.Fatalf("push %s to %s: %s %s", ref, repo, resp.Status, answer)
	}
	return d
}
