package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"pier/lib/errkind"
)

// dockerHub is the host that serves the names of docker.io.
const (
	dockerHub    = "docker.io"
	dockerHubAPI = "registry-1.docker.io"
)

// ClientOptions tune a Client.
type ClientOptions struct {
	// Insecure lists hosts ("host" or "host:port") that may be spoken to by plain HTTP. Loopback addresses always may.
	Insecure []string
}

// Client speaks to registries as the OCI distribution specification says. It is safe for concurrent use and holds only
// idle connections.
type Client struct {
	o         ClientOptions
	transport *http.Transport
}

// NewClient returns a client. It connects to nobody yet.
func NewClient(o ClientOptions) *Client {
	return &Client{o: o, transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
	}}
}

// Session is a conversation about one repository with one set of credentials. It is safe for concurrent use.
type Session struct {
	name   reference.Named
	base   string // "https://host/v2/path"
	http   *auth.Client
	scoped oras.Reference
}

// Open begins a session about the repository of name. credentials is the value of an X-Registry-Auth header, "" for
// none. Unavailable where the registry does not answer.
func (c *Client) Open(ctx context.Context, name reference.Named, credentials string) (*Session, error) {
	host := reference.Domain(name)
	if host == dockerHub {
		host = dockerHubAPI
	}
	credential, err := decodeAuth(credentials, host)
	if err != nil {
		return nil, err
	}
	scheme, err := c.scheme(ctx, host)
	if err != nil {
		return nil, err
	}
	guard := &guard{next: c.transport, host: host, plain: scheme == "http"}
	return &Session{
		name:   name,
		base:   scheme + "://" + host + "/v2/" + reference.Path(name),
		scoped: oras.Reference{Registry: host, Repository: reference.Path(name)},
		http: &auth.Client{
			Client:     &http.Client{Transport: guard, CheckRedirect: guard.redirect},
			Header:     http.Header{"User-Agent": {"pier"}},
			Cache:      auth.NewCache(),
			Credential: auth.StaticCredential(host, credential),
		},
	}, nil
}

// scheme finds out how to speak to host. Only loopback and insecure hosts are tried by plain HTTP, and first: what
// listens on loopback rarely has a certificate.
func (c *Client) scheme(ctx context.Context, host string) (string, error) {
	if !c.plain(host) {
		return "https", nil
	}
	var failed error
	for _, scheme := range []string{"http", "https"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+"/v2/", nil)
		if err != nil {
			return "", errkind.New(errkind.Invalid, "registry %s: %w", host, err)
		}
		resp, err := c.transport.RoundTrip(r)
		if err != nil {
			failed = err
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized {
			return scheme, nil
		}
		failed = fmt.Errorf("it answers %s", resp.Status)
	}
	return "", unreachable(ctx, host, failed)
}

func (c *Client) plain(hostport string) bool {
	host := hostname(hostport)
	return loopback(host) || slices.Contains(c.o.Insecure, hostport) || slices.Contains(c.o.Insecure, host)
}

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Manifest fetches the document that the tag or digest ref names, and its descriptor. NotFound and Unauthorized in
// Docker's words.
func (s *Session) Manifest(ctx context.Context, ref string) (ocispec.Descriptor, []byte, error) {
	accept := http.Header{"Accept": {ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, MediaTypeDockerIndex, MediaTypeDockerManifest}}
	resp, err := s.get(ctx, "/manifests/"+ref, accept)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ocispec.Descriptor{}, nil, s.refused(resp, "manifest for "+s.display(ref))
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return ocispec.Descriptor{}, nil, unreachable(ctx, s.scoped.Registry, err)
	}
	if len(raw) > MaxManifest {
		return ocispec.Descriptor{}, nil, errkind.New(errkind.Invalid, "manifest for %s is larger than %d bytes", s.display(ref), MaxManifest)
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if mediaType == "application/json" || mediaType == "text/plain" { // servers that do not say
		d.MediaType = ""
	}
	if want := digest.Digest(ref); want.Validate() == nil && want != d.Digest {
		return ocispec.Descriptor{}, nil, errkind.New(errkind.Invalid, "manifest for %s has the digest %s", s.display(ref), d.Digest)
	}
	return d, raw, nil
}

// Choose resolves ref to the manifest of an image for platform. top is the document that ref itself names.
func (s *Session) Choose(ctx context.Context, ref string, platform ocispec.Platform) (top ocispec.Descriptor, _ *Choice, _ error) {
	top, raw, err := s.Manifest(ctx, ref)
	if err != nil {
		return top, nil, err
	}
	choice, err := Choose(top, platform, func(d ocispec.Descriptor) ([]byte, error) {
		if d.Digest == top.Digest {
			return raw, nil
		}
		if err := d.Digest.Validate(); err != nil {
			return nil, errkind.New(errkind.Invalid, "bad digest %q", string(d.Digest))
		}
		_, raw, err := s.Manifest(ctx, d.Digest.String())
		return raw, err
	})
	if err == nil && choice == nil {
		err = errkind.New(errkind.Unsupported, "%s is not a container image", s.display(ref))
	}
	return top, choice, err
}

// get asks for a path below the repository.
func (s *Session) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	ctx = auth.AppendRepositoryScope(ctx, s.scoped, auth.ActionPull)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "ask registry: %w", err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return nil, unreachable(ctx, s.scoped.Registry, err)
	}
	return resp, nil
}

// display is ref with its repository, as users write it.
func (s *Session) display(ref string) string {
	sep := ":"
	if strings.Contains(ref, ":") {
		sep = "@"
	}
	return reference.FamiliarName(s.name) + sep + ref
}

// refused turns an answer that is no success into an error about what.
func (s *Session) refused(resp *http.Response, what string) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return errkind.New(errkind.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login'", reference.FamiliarName(s.name))
	case http.StatusNotFound:
		return errkind.New(errkind.NotFound, "%s not found: manifest unknown", what)
	case http.StatusTooManyRequests:
		return errkind.New(errkind.Unavailable, "registry %s: toomanyrequests: try again later, or log in", s.scoped.Registry)
	}
	return errkind.New(errkind.Unavailable, "registry %s answers %s for %s: %q", s.scoped.Registry, resp.Status, what, strings.TrimSpace(string(said)))
}

// unreachable is for errors of the network.
func unreachable(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var denied *deniedError
	if errors.As(err, &denied) {
		return errkind.New(errkind.Forbidden, "registry %s: %w", host, denied)
	}
	var answer *errcode.ErrorResponse // of the server that gives out tokens
	if errors.As(err, &answer) && answer.StatusCode/100 == 4 {
		return errkind.New(errkind.Unauthorized, "registry %s: the credentials are not accepted (%s); log in again", host, http.StatusText(answer.StatusCode))
	}
	return errkind.New(errkind.Unavailable, "registry %s cannot be reached: %w", host, err)
}
