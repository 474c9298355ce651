package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"oras.land/oras-go/v2/registry/remote/auth"

	"pier/lib/errkind"
)

// maxAuth bounds the X-Registry-Auth header.
const maxAuth = 64 << 10

// decodeAuth reads an X-Registry-Auth value (base64url JSON of registry.AuthConfig) for the registry at host. Credentials
// that name another server are not used.
func decodeAuth(value, host string) (auth.Credential, error) {
	if value == "" {
		return auth.EmptyCredential, nil
	}
	bad := errkind.New(errkind.Invalid, "X-Registry-Auth is not base64url of JSON")
	if len(value) > maxAuth {
		return auth.EmptyCredential, bad
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(value), "="))
	if err != nil {
		return auth.EmptyCredential, bad
	}
	var c registry.AuthConfig
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &c); err != nil {
			return auth.EmptyCredential, bad
		}
	}
	if c.ServerAddress != "" && serverHost(c.ServerAddress) != host {
		return auth.EmptyCredential, nil
	}
	return auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.IdentityToken, AccessToken: c.RegistryToken}, nil
}

// serverHost is the host of a server address as config.json has them: "https://index.docker.io/v1/", "localhost:5000".
func serverHost(address string) string {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		rest = address
	}
	host, _, _ := strings.Cut(rest, "/")
	if host == dockerHub || host == "index."+dockerHub {
		return dockerHubAPI
	}
	return host
}

// guard sits under everything that speaks to a registry and lets no credentials through to anybody else, whatever
// redirects or authentication challenges say.
type guard struct {
	next  http.RoundTripper
	host  string // the registry, with port
	plain bool   // it is spoken to by plain HTTP
}

// deniedError is the guard's refusal.
type deniedError struct{ what, to string }

func (e *deniedError) Error() string {
	return fmt.Sprintf("it asks to send %s to %s, which is refused", e.what, e.to)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Host == g.host && (r.URL.Scheme == "https" || g.plain):
	case r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) && (!g.plain || carriesSecret(r)):
		return nil, &deniedError{"requests without encryption", r.URL.Host}
	case carriesSecret(r) && !g.related(r.URL.Hostname()):
		return nil, &deniedError{"credentials", r.URL.Host}
	}
	return g.next.RoundTrip(r)
}

// carriesSecret reports whether the request holds credentials: in its header, or in a form for an access token.
func carriesSecret(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || r.Method == http.MethodPost
}

// related reports whether host belongs to the same organisation as the registry: the same name but for its first
// labels, as auth.docker.io and registry-1.docker.io, or both on loopback.
func (g *guard) related(host string) bool {
	own := hostname(g.host)
	if own == host || loopback(own) && loopback(host) {
		return true
	}
	a, b := strings.Split(own, "."), strings.Split(host, ".")
	shared := 0
	for shared < min(len(a), len(b)) && a[len(a)-1-shared] == b[len(b)-1-shared] {
		shared++
	}
	// Two labels are a domain; below a two-letter country code it can take three ("co.uk").
	need := 2
	if len(b[len(b)-1]) <= 3 && len(b) > 2 && len(b[len(b)-2]) <= 3 {
		need = 3
	}
	return shared >= need
}

const maxRedirects = 10

// redirect implements http.Client.CheckRedirect: blobs usually lie with somebody else, who gets no credentials.
func (g *guard) redirect(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if r.URL.Host != g.host || r.URL.Scheme != via[0].URL.Scheme {
		r.Header.Del("Authorization")
		r.Header.Del("Cookie")
	}
	return nil
}
