package contexts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pier/lib/atomicfile"
	"pier/lib/errkind"
)

// Default is the context that needs no file: the daemon that the environment names, or the usual one.
const Default = "default"

// Context is one named daemon, as meta.json has it.
type Context struct {
	Name      string
	Metadata  Metadata
	Endpoints map[string]Endpoint
}

// Metadata is what is said about a context in words.
type Metadata struct {
	Description string `json:",omitempty"`
}

// Endpoint is the address of a daemon.
type Endpoint struct {
	Host          string `json:",omitempty"`
	SkipTLSVerify bool
}

// Engine is the key of the daemon among Endpoints, and of its folder of TLS files.
const Engine = "docker"

// tlsNames are the files that a context may have.
func tlsNames() []string { return []string{"ca.pem", "cert.pem", "key.pem"} }

// Store is a folder such as ~/.docker. Its methods read and write files and keep nothing.
type Store struct{ dir string }

// Open returns the store that the environment names; env is os.Getenv.
func Open(env func(string) string) Store {
	if dir := env("DOCKER_CONFIG"); dir != "" {
		return Store{dir}
	}
	return Store{filepath.Join(env("HOME"), ".docker")}
}

// Meta is the folder of a context's metadata.
func (s Store) Meta(name string) string { return filepath.Join(s.dir, "contexts", "meta", key(name)) }

// TLS is the folder of a context's TLS files, which need not exist.
func (s Store) TLS(name string) string { return filepath.Join(s.dir, "contexts", "tls", key(name)) }

func key(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// CheckName refuses what cannot name a context that is kept in files.
func CheckName(name string) error {
	const ends = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "":
		return errkind.New(errkind.Invalid, "context name cannot be empty")
	case name == Default:
		return errkind.New(errkind.Invalid, `"default" is a reserved context name`)
	case len(name) < 2, strings.Trim(name, ends+"_.+-") != "", !strings.ContainsRune(ends, rune(name[0])):
		return errkind.New(errkind.Invalid, "context name %q is invalid, names are validated against regexp %q", name, "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$")
	}
	return nil
}

// Get reads one context.
func (s Store) Get(name string) (Context, error) {
	var c Context
	data, err := os.ReadFile(filepath.Join(s.Meta(name), "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, errkind.New(errkind.NotFound, "context %q does not exist", name)
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, errkind.New(errkind.Invalid, "context %q: %w", name, err)
	}
	return c, nil
}

// List returns all contexts by name, besides the default one. What cannot be read is left out.
func (s Store) List() ([]Context, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "contexts", "meta"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Context
	for _, e := range entries {
		var c Context
		data, err := os.ReadFile(filepath.Join(s.dir, "contexts", "meta", e.Name(), "meta.json"))
		if err == nil && json.Unmarshal(data, &c) == nil && key(c.Name) == e.Name() {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(x, y Context) int { return strings.Compare(x.Name, y.Name) })
	return list, nil
}

// Put writes a context anew. files are its TLS files by name; nil leaves those it has.
func (s Store) Put(c Context, files map[string][]byte) error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if files != nil {
		if err := s.putTLS(c.Name, files); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.Meta(c.Name), 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(s.Meta(c.Name), "meta.json"), data, 0o644)
}

func (s Store) putTLS(name string, files map[string][]byte) error {
	for file := range files {
		if !slices.Contains(tlsNames(), file) {
			return errkind.New(errkind.Invalid, "context %q: %q is no TLS file: use %s", name, file, strings.Join(tlsNames(), ", "))
		}
	}
	dir := filepath.Join(s.TLS(name), Engine)
	if err := os.RemoveAll(s.TLS(name)); err != nil || len(files) == 0 {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for file, data := range files {
		if err := atomicfile.Write(filepath.Join(dir, file), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Files returns a context's TLS files by name.
func (s Store) Files(name string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, file := range tlsNames() {
		data, err := os.ReadFile(filepath.Join(s.TLS(name), Engine, file))
		if err == nil {
			files[file] = data
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}

// Remove removes a context and its files.
func (s Store) Remove(name string) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(s.TLS(name)), os.RemoveAll(s.Meta(name)))
}

// Current is the context that config.json names, or Default.
func (s Store) Current() string {
	var config struct{ CurrentContext string }
	data, err := os.ReadFile(filepath.Join(s.dir, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil || config.CurrentContext == "" {
		return Default
	}
	return config.CurrentContext
}

// Use names the current context in config.json, whose other fields stay as they are.
func (s Store) Use(name string) error {
	if name != Default {
		if _, err := s.Get(name); err != nil {
			return err
		}
	}
	path := filepath.Join(s.dir, "config.json")
	config := map[string]json.RawMessage{}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &config)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err != nil {
		return errkind.New(errkind.Invalid, "%s: %w", path, err)
	}
	if name == Default {
		delete(config, "currentContext")
	} else {
		config["currentContext"], _ = json.Marshal(name) // a string always encodes
	}
	if data, err = json.MarshalIndent(config, "", "\t"); err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link that people keep their files behind stays one
	}
	return atomicfile.Write(path, data, 0o600)
}
