package registrytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"pier/daemon/registry"
	"pier/daemon/store/blob"
	"pier/daemon/store/record"
	"pier/lib/errkind"
	"pier/lib/id"
)

// server is a registry: an http.Handler for the paths below /v2/ of the OCI distribution specification (pull, push,
// tags, deletion). A repository shows only what was pushed to it or mounted into it, whatever else the store holds.
type server struct {
	blobs *blob.Store
	links *record.Table[link] // "repository@digest"
	tags  *record.Table[link] // "repository:tag"

	mu      sync.Mutex // guards uploads
	uploads map[string]*upload
}

// link says that a repository has a blob, and for manifests of what type.
type link struct {
	Digest    digest.Digest
	MediaType string `json:",omitempty"` // of a manifest
}

// upload is a blob coming in over several requests.
type upload struct {
	mu   sync.Mutex // one request at a time
	repo string
	in   *blob.Ingest
}

const (
	maxUploads = 1000
	maxTags    = 1000 // in one answer
)

func newServer(blobs *blob.Store, records *record.DB) *server {
	return &server{blobs: blobs, uploads: map[string]*upload{},
		links: record.NewTable[link](records, "registry-links"), tags: record.NewTable[link](records, "registry-tags")}
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.serve(w, r); err != nil {
		writeError(w, err)
	}
}

// protocolError is an error with one of the specification's codes.
type protocolError struct {
	status int
	code   string
	err    error
}

func (e *protocolError) Error() string { return e.err.Error() }

func fail(status int, code, format string, args ...any) error {
	return &protocolError{status, code, fmt.Errorf(format, args...)}
}

func writeError(w http.ResponseWriter, err error) {
	var p *protocolError
	if !errors.As(err, &p) {
		p = &protocolError{http.StatusInternalServerError, "UNKNOWN", err}
		switch errkind.Of(err) {
		case errkind.NotFound:
			p.status, p.code = http.StatusNotFound, "BLOB_UNKNOWN"
		case errkind.Invalid:
			p.status, p.code = http.StatusBadRequest, "DIGEST_INVALID"
		case errkind.Exhausted:
			p.status, p.code = http.StatusInsufficientStorage, "TOOMANYREQUESTS"
		case errkind.Unsupported:
			p.status, p.code = http.StatusBadRequest, "UNSUPPORTED"
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": p.code, "message": p.Error()}}})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok {
		return fail(http.StatusNotFound, "UNSUPPORTED", "there is only /v2/ here")
	}
	if path == "" {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, "{}")
		return err
	}
	for _, kind := range []struct {
		sep   string
		serve func(http.ResponseWriter, *http.Request, string, string) error
	}{{"/blobs/uploads/", s.upload}, {"/blobs/", s.blob}, {"/manifests/", s.manifest}, {"/tags/", s.tagList}} {
		if at := strings.LastIndex(path, kind.sep); at > 0 {
			repo := path[:at]
			if _, err := reference.WithName("host/" + repo); err != nil || len(repo) > 255 {
				return fail(http.StatusBadRequest, "NAME_INVALID", "bad repository name %q", repo)
			}
			return kind.serve(w, r, repo, path[at+len(kind.sep):])
		}
	}
	return fail(http.StatusNotFound, "UNSUPPORTED", "no such path")
}

func (s *server) linked(repo string, d digest.Digest) (link, error) {
	if err := d.Validate(); err != nil {
		return link{}, fail(http.StatusBadRequest, "DIGEST_INVALID", "bad digest %q", string(d))
	}
	return s.links.Get(repo + "@" + d.String())
}

// blob serves /v2/<repo>/blobs/<digest>.
func (s *server) blob(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	l, err := s.linked(repo, digest.Digest(ref))
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return s.content(w, r, l, "application/octet-stream")
	case http.MethodDelete:
		if err := s.links.Delete(r.Context(), repo+"@"+l.Digest.String()); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return notAllowed()
}

func notAllowed() error {
	return fail(http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not allowed here")
}

func (s *server) content(w http.ResponseWriter, r *http.Request, l link, mediaType string) error {
	f, err := s.blobs.Open(l.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", l.Digest.String())
	w.Header().Set("ETag", `"`+l.Digest.String()+`"`)
	http.ServeContent(w, r, "", info.ModTime(), f) // ranges included
	return nil
}

// manifest serves /v2/<repo>/manifests/<tag or digest>.
func (s *server) manifest(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	if r.Method == http.MethodPut {
		return s.putManifest(w, r, repo, ref)
	}
	table, key, err := s.manifestKey(repo, ref)
	if err != nil {
		return err
	}
	l, err := table.Get(key)
	if err != nil || l.MediaType == "" {
		return fail(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest %s:%s is unknown", repo, ref)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return s.content(w, r, l, l.MediaType)
	case http.MethodDelete:
		if table == s.links {
			if err := s.untag(r.Context(), repo, l.Digest); err != nil {
				return err
			}
		}
		if err := table.Delete(r.Context(), key); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return notAllowed()
}

func (s *server) manifestKey(repo, ref string) (*record.Table[link], string, error) {
	if strings.Contains(ref, ":") {
		if err := digest.Digest(ref).Validate(); err != nil {
			return nil, "", fail(http.StatusBadRequest, "DIGEST_INVALID", "bad digest %q", ref)
		}
		return s.links, repo + "@" + ref, nil
	}
	if !validTag(ref) {
		return nil, "", fail(http.StatusBadRequest, "MANIFEST_INVALID", "bad tag %q", ref)
	}
	return s.tags, repo + ":" + ref, nil
}

func validTag(tag string) bool {
	named, err := reference.WithName("host/name")
	if err != nil {
		return false
	}
	_, err = reference.WithTag(named, tag)
	return err == nil
}

// untag drops the tags of a manifest that is deleted.
func (s *server) untag(ctx context.Context, repo string, d digest.Digest) error {
	all, err := s.tags.All()
	if err != nil {
		return err
	}
	for key, l := range all {
		if strings.HasPrefix(key, repo+":") && l.Digest == d {
			if err := s.tags.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) putManifest(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	table, key, err := s.manifestKey(repo, ref)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, registry.MaxManifest+1))
	if err != nil {
		return err
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	doc, err := registry.ParseManifest(raw, mediaType)
	if err != nil || mediaType == "" {
		return fail(http.StatusBadRequest, "MANIFEST_INVALID", "bad manifest of type %q: %v", mediaType, err)
	}
	l := link{Digest: digest.FromBytes(raw), MediaType: mediaType}
	if table == s.links && ref != l.Digest.String() {
		return fail(http.StatusBadRequest, "DIGEST_INVALID", "manifest has the digest %s", l.Digest)
	}
	if err := s.complete(repo, doc); err != nil {
		return err
	}
	if _, err := s.blobs.Put(raw); err != nil {
		return err
	}
	if err := s.links.Put(r.Context(), repo+"@"+l.Digest.String(), l); err != nil {
		return err
	}
	if table == s.tags {
		if err := s.tags.Put(r.Context(), key, l); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/v2/"+repo+"/manifests/"+l.Digest.String())
	w.Header().Set("Docker-Content-Digest", l.Digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// complete proves that everything a manifest names was pushed before it.
func (s *server) complete(repo string, doc registry.Document) error {
	if doc.Manifest != nil {
		for _, d := range append(slices.Clone(doc.Manifest.Layers), doc.Manifest.Config) {
			if _, err := s.linked(repo, d.Digest); err != nil && len(d.URLs) == 0 {
				return fail(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob %s is unknown to the repository", d.Digest)
			}
		}
		return nil
	}
	for _, d := range doc.Index.Manifests {
		if _, err := s.linked(repo, d.Digest); err != nil {
			return fail(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "manifest %s is unknown to the repository", d.Digest)
		}
	}
	return nil
}

// tagList serves /v2/<repo>/tags/list.
func (s *server) tagList(w http.ResponseWriter, r *http.Request, repo, rest string) error {
	if rest != "list" || r.Method != http.MethodGet {
		return notAllowed()
	}
	all, err := s.tags.All()
	if err != nil {
		return err
	}
	names := []string{}
	for key := range all {
		if name, ok := strings.CutPrefix(key, repo+":"); ok && name > r.URL.Query().Get("last") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > maxTags {
		n = maxTags
	}
	if len(names) > n {
		names = names[:n]
		if n > 0 {
			w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repo, n, names[n-1]))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": names})
}

// upload serves /v2/<repo>/blobs/uploads/[<id>].
func (s *server) upload(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	if ref == "" {
		if r.Method != http.MethodPost {
			return notAllowed()
		}
		return s.startUpload(w, r, repo)
	}
	s.mu.Lock()
	u := s.uploads[ref]
	s.mu.Unlock()
	if u == nil || u.repo != repo {
		return fail(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		s.uploadStatus(w, repo, ref, u.in.Size(), http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := s.receive(r, u); err != nil {
			return err
		}
		s.uploadStatus(w, repo, ref, u.in.Size(), http.StatusAccepted)
		return nil
	case http.MethodPut:
		defer s.drop(ref)
		if err := s.receive(r, u); err != nil {
			return err
		}
		return s.finish(w, r, repo, u.in)
	case http.MethodDelete:
		s.drop(ref)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notAllowed()
}

func (s *server) startUpload(w http.ResponseWriter, r *http.Request, repo string) error {
	q := r.URL.Query()
	if mount := digest.Digest(q.Get("mount")); mount != "" {
		if l, err := s.linked(q.Get("from"), mount); err == nil {
			if err := s.links.Put(r.Context(), repo+"@"+mount.String(), l); err != nil {
				return err
			}
			created(w, repo, mount)
			return nil
		}
	}
	in, err := s.blobs.Begin()
	if err != nil {
		return err
	}
	if q.Get("digest") != "" { // the whole blob in this request
		defer in.Close()
		if err := s.receive(r, &upload{repo: repo, in: in}); err != nil {
			return err
		}
		return s.finish(w, r, repo, in)
	}
	ref := id.New()
	s.mu.Lock()
	full := len(s.uploads) >= maxUploads
	if !full {
		s.uploads[ref] = &upload{repo: repo, in: in}
	}
	s.mu.Unlock()
	if full {
		_ = in.Close()
		return fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "more than %d uploads at once", maxUploads)
	}
	s.uploadStatus(w, repo, ref, 0, http.StatusAccepted)
	return nil
}

func (s *server) uploadStatus(w http.ResponseWriter, repo, ref string, size int64, status int) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+ref)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.Header().Set("Docker-Upload-UUID", ref)
	w.WriteHeader(status)
}

// receive appends the request's body, which must begin where the upload ends.
func (s *server) receive(r *http.Request, u *upload) error {
	if at, _, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && strings.TrimPrefix(at, "bytes ") != strconv.FormatInt(u.in.Size(), 10) {
		return fail(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the upload goes on at %d", u.in.Size())
	}
	_, err := io.Copy(u.in, r.Body)
	return err
}

func (s *server) finish(w http.ResponseWriter, r *http.Request, repo string, in *blob.Ingest) error {
	d := digest.Digest(r.URL.Query().Get("digest"))
	if err := in.Commit(d); err != nil {
		return err
	}
	if _, err := s.linked(repo, d); err != nil { // else it may be a manifest, and stays one
		if err := s.links.Put(r.Context(), repo+"@"+d.String(), link{Digest: d}); err != nil {
			return err
		}
	}
	created(w, repo, d)
	return nil
}

func created(w http.ResponseWriter, repo string, d digest.Digest) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

func (s *server) drop(ref string) {
	s.mu.Lock()
	u := s.uploads[ref]
	delete(s.uploads, ref)
	s.mu.Unlock()
	if u != nil {
		_ = u.in.Close()
	}
}

// close drops uploads that were never finished.
func (s *server) close() {
	s.mu.Lock()
	refs := slices.Collect(maps.Keys(s.uploads))
	s.mu.Unlock()
	for _, ref := range refs {
		s.drop(ref)
	}
}
