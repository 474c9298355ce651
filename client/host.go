package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"pier/lib/errkind"
)

// DefaultHost is where pierd listens when nobody says otherwise.
const DefaultHost = "unix:///run/pier/pier.sock"

// Endpoint is one server and how to reach it.
type Endpoint struct {
	// Host is unix:///path, tcp://host:port or ssh://[user@]host[:port].
	Host string
	TLS  TLS
	// Source says in words where Host came from, for `pier info` and error messages.
	Source string
}

// TLS names the files of a TCP connection with TLS. The zero value means plain TCP.
type TLS struct {
	Enabled bool
	Verify  bool   // the server's certificate is checked against CA
	CA      string // path of a PEM file; the only authority trusted
	Cert    string // path of the client's certificate
	Key     string // path of the client's key
}

// Choice is what the command line said.
type Choice struct {
	Host    string // -H
	Context string // -c
	TLS     TLS
}

// Find decides which server to talk to: -H, then PIER_HOST, then the context (-c, PIER_CONTEXT, the current context
// of ~/.docker/config.json), then DefaultHost. Context files are Docker's own (~/.docker/contexts). env is os.Getenv.
func Find(choice Choice, env func(string) string) (Endpoint, error) {
	tlsFiles := tlsFromEnv(choice.TLS, env)
	switch {
	case choice.Host != "" && choice.Context != "":
		return Endpoint{}, errkind.New(errkind.Invalid, "conflicting options: -H/--host and -c/--context cannot both name the daemon")
	case choice.Host != "":
		return checked(Endpoint{Host: choice.Host, TLS: tlsFiles, Source: "-H"})
	case choice.Context == "" && env("PIER_HOST") != "":
		return checked(Endpoint{Host: env("PIER_HOST"), TLS: tlsFiles, Source: "PIER_HOST"})
	}
	name, source := choice.Context, "--context"
	if name == "" {
		name, source = env("PIER_CONTEXT"), "PIER_CONTEXT"
	}
	if name == "" {
		name, source = currentContext(configDir(env)), "the current context"
	}
	if name == "" || name == "default" {
		return Endpoint{Host: DefaultHost, TLS: tlsFiles, Source: "default"}, nil
	}
	e, err := readContext(configDir(env), name)
	if err != nil {
		return Endpoint{}, err
	}
	e.Source = source + " " + name
	return checked(e)
}

func checked(e Endpoint) (Endpoint, error) {
	if !strings.Contains(e.Host, "://") {
		if strings.HasPrefix(e.Host, "/") {
			e.Host = "unix://" + e.Host
		} else {
			e.Host = "tcp://" + e.Host
		}
	}
	_, err := e.dialer()
	return e, err
}

func (e Endpoint) scheme() string {
	scheme, _, _ := strings.Cut(e.Host, "://")
	return scheme
}

// tlsFromEnv completes the flags with PIER_TLS_VERIFY and PIER_CERT_PATH (ca.pem, cert.pem, key.pem).
func tlsFromEnv(t TLS, env func(string) string) TLS {
	if env("PIER_TLS_VERIFY") != "" {
		t.Enabled, t.Verify = true, true
	}
	t.Enabled = t.Enabled || t.Verify
	if !t.Enabled {
		return TLS{}
	}
	dir := env("PIER_CERT_PATH")
	if dir == "" {
		dir = configDir(env)
	}
	for _, f := range []struct {
		field *string
		name  string
	}{{&t.CA, "ca.pem"}, {&t.Cert, "cert.pem"}, {&t.Key, "key.pem"}} {
		path := filepath.Join(dir, f.name)
		if _, err := os.Stat(path); *f.field == "" && err == nil {
			*f.field = path
		}
	}
	return t
}

func configDir(env func(string) string) string {
	if dir := env("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	return filepath.Join(env("HOME"), ".docker")
}

func currentContext(dir string) string {
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return ""
	}
	return config.CurrentContext
}

// readContext reads one context of Docker's store: contexts/meta/<sha256 of the name>/meta.json.
func readContext(dir, name string) (Endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	key := hex.EncodeToString(sum[:])
	data, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", key, "meta.json"))
	if err != nil {
		return Endpoint{}, errkind.New(errkind.NotFound, "context %q does not exist below %s: choose another with -c, or name the daemon with -H", name, dir)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return Endpoint{}, errkind.New(errkind.Invalid, "context %q: %w", name, err)
	}
	e, ok := meta.Endpoints["docker"]
	if !ok || e.Host == "" {
		return Endpoint{}, errkind.New(errkind.Invalid, "context %q has no engine endpoint", name)
	}
	files := filepath.Join(dir, "contexts", "tls", key, "docker")
	t := TLS{CA: filepath.Join(files, "ca.pem"), Cert: filepath.Join(files, "cert.pem"), Key: filepath.Join(files, "key.pem")}
	if _, err := os.Stat(t.Cert); err != nil {
		return Endpoint{Host: e.Host}, nil
	}
	t.Enabled, t.Verify = true, !e.SkipTLSVerify
	return Endpoint{Host: e.Host, TLS: t}, nil
}
