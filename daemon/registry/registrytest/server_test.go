package registrytest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestServer(t *testing.T) {
	host, s := start(t, nil)
	config, layer := []byte(`{"os":"linux"}`), bytes.Repeat([]byte("layer"), 1000)
	// In pieces, with a status request between.
	resp, _ := Send(t, http.MethodPost, host, "team/app/blobs/uploads/", nil)
	at := strings.TrimPrefix(resp.Header.Get("Location"), "/v2/")
	Send(t, http.MethodPatch, host, at, layer[:2000])
	if resp, _ := Send(t, http.MethodGet, host, at, nil); resp.Header.Get("Range") != "0-1999" {
		t.Errorf("status: %v", resp.Header)
	}
	if resp, _ := Send(t, http.MethodPatch, host, at, layer[:10], "Content-Range", "5-14"); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("wrong offset: %s", resp.Status)
	}
	ld := digest.FromBytes(layer)
	if resp, _ := Send(t, http.MethodPut, host, at+"?digest="+ld.String(), layer[2000:]); resp.StatusCode != http.StatusCreated {
		t.Errorf("put: %s", resp.Status)
	}
	manifest, _ := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: ld, Size: 5000}}})
	put := func() int {
		resp, _ := Send(t, http.MethodPut, host, "team/app/manifests/v1", manifest, "Content-Type", ocispec.MediaTypeImageManifest)
		return resp.StatusCode
	}
	if code := put(); code != http.StatusBadRequest {
		t.Errorf("manifest without its config: %d", code)
	}
	PushBlob(t, host, "team/app", config)
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
		resp, body := Send(t, tt.method, host, tt.path, nil, tt.header...)
		if resp.StatusCode != tt.status || tt.body != "" && string(body) != tt.body {
			t.Errorf("%s %s: %s %.100s", tt.method, tt.path, resp.Status, body)
		}
	}
	bad := append(bytes.TrimSuffix(bytes.Clone(manifest), []byte("}")), `,"manifests":[]}`...)
	if resp, _ := Send(t, http.MethodPut, host, "team/app/manifests/v1", bad, "Content-Type", ocispec.MediaTypeImageManifest); resp.StatusCode != 400 {
		t.Errorf("ambiguous manifest: %s", resp.Status)
	}
	Send(t, http.MethodPost, host, "team/app/blobs/uploads/", nil) // never finished
	if s.close(); len(s.uploads) != 0 {
		t.Errorf("%d uploads are left", len(s.uploads))
	}
}
