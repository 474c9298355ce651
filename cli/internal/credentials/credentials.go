package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"pier/lib/errkind"
)

// Hub is how config.json and the helpers call Docker Hub.
const Hub = "https://index.docker.io/v1/"

// Store is one config.json. It is read anew by every call.
type Store struct {
	path   string
	helper func(name string) (helper, error)
}

// Open names the config.json that the environment chooses; env is os.Getenv. The file need not exist.
func Open(env func(string) string) *Store {
	dir := env("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(env("HOME"), ".docker")
	}
	return &Store{path: filepath.Join(dir, "config.json"), helper: findHelper}
}

// entry is what config.json itself holds for one registry.
type entry struct {
	Auth, Username, Password, IdentityToken, RegistryToken string
}

type config struct {
	Auths       map[string]entry
	CredsStore  string
	CredHelpers map[string]string
}

func (s *Store) read() (config, error) {
	var c config
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, errkind.New(errkind.Invalid, "credentials in %s: %w", s.path, err)
	}
	return c, nil
}

// For returns the credentials for a registry, as the host part of an image's name or Hub, and for that one only; nil
// where there are none. A helper that is named but cannot be asked is an error: nothing else is tried in its place, for
// what another place holds may be meant for another registry.
func (s *Store) For(ctx context.Context, host string) (*registry.AuthConfig, error) {
	c, err := s.read()
	if err != nil {
		return nil, err
	}
	return s.of(ctx, &c, host)
}

func (s *Store) of(ctx context.Context, c *config, host string) (*registry.AuthConfig, error) {
	if name := c.helperOf(host); name != "" {
		h, err := s.helper(name)
		if err != nil {
			return nil, err
		}
		return h.get(ctx, host)
	}
	e, ok := c.Auths[host]
	for key, other := range c.Auths {
		if !ok && hostOf(key) == hostOf(host) {
			e, ok = other, true
		}
	}
	if !ok {
		return nil, nil
	}
	return e.config(host)
}

func (e entry) config(host string) (*registry.AuthConfig, error) {
	auth := &registry.AuthConfig{ServerAddress: host, Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(e.Auth)
		name, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		if err != nil || !ok {
			return nil, errkind.New(errkind.Invalid, "credentials for %s: the field auth of config.json is not base64 of USER:PASSWORD", host)
		}
		auth.Username, auth.Password = name, password
	}
	return auth, nil
}

// helperOf is the name of the helper that keeps the credentials of a registry, or "".
func (c *config) helperOf(host string) string {
	if name, ok := c.CredHelpers[host]; ok {
		return name
	}
	return c.CredsStore
}

// All returns everything that is known, by registry, as a build needs it that names its images itself.
func (s *Store) All(ctx context.Context) (map[string]registry.AuthConfig, error) {
	c, err := s.read()
	if err != nil {
		return nil, err
	}
	hosts := map[string]bool{}
	for host := range c.Auths {
		hosts[host] = true
	}
	for host := range c.CredHelpers {
		hosts[host] = true
	}
	if c.CredsStore != "" {
		h, err := s.helper(c.CredsStore)
		if err != nil {
			return nil, err
		}
		kept, err := h.list(ctx)
		if err != nil {
			return nil, err
		}
		for host := range kept {
			hosts[host] = true
		}
	}
	all := map[string]registry.AuthConfig{}
	for host := range hosts {
		auth, err := s.of(ctx, &c, host)
		if err != nil {
			return nil, err
		}
		if auth != nil {
			all[host] = *auth
		}
	}
	return all, nil
}

// hostOf is a key of config.json without what logins of the past wrote around the host.
func hostOf(key string) string {
	if u, err := url.Parse(key); err == nil && u.Host != "" {
		return u.Host
	}
	host, _, _ := strings.Cut(key, "/")
	return host
}

// HostOf is the host part of a repository name, as For takes it.
func HostOf(repo string) string {
	first, _, ok := strings.Cut(repo, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return Hub
	}
	return first
}
