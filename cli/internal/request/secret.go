package request

import (
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pier/api/docker"
)

// readSecrets reads the values of --secret, and the files and variables that they name.
func (f *Container) readSecrets(env func(string) string) error {
	if len(f.secrets) > docker.MaxSecrets {
		return invalid("%d times --secret: a container has at most %d secrets", len(f.secrets), docker.MaxSecrets)
	}
	f.Secrets = nil
	all := 0
	for _, word := range f.secrets {
		s, err := parseSecret(word, env)
		if err != nil {
			return invalid("invalid argument %q for --secret: %w", word, err)
		}
		if all += len(s.Content); all > docker.MaxSecretsAll {
			return invalid("--secret: the secrets of a container may have at most %d bytes together", docker.MaxSecretsAll)
		}
		f.Secrets = append(f.Secrets, s)
	}
	return nil
}

// asked is where a secret comes from.
type asked struct{ name, kind, file, variable, target string }

// parseSecret reads the fields of --secret, which has the words of build --secret (id, type, src, env) and those of where
// the file is to be (target, uid, gid, mode).
func parseSecret(word string, env func(string) string) (s docker.NewSecret, err error) {
	fields, err := csv.NewReader(strings.NewReader(word)).Read()
	if err != nil {
		return s, err
	}
	var from asked
	source := ""
	for _, field := range fields {
		key, value, given := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !given {
			return s, invalid("%q is no key=value: give a file, src=PATH, or a variable, env=NAME (the server keeps no secrets with names)", field)
		}
		switch key {
		case "id", "name":
			from.name = value
		case "type":
			from.kind = value
		case "source", "src":
			source = value
		case "env":
			from.variable = value
		case "target", "dst", "destination":
			from.target = value
		case "uid":
			s.UID, err = number(key, value)
		case "gid":
			s.GID, err = number(key, value)
		case "mode":
			s.Mode, err = mode(value)
		default:
			err = invalid("unexpected key %q: there are type, src, env, target, uid, gid, mode and id", key)
		}
		if err != nil {
			return s, err
		}
	}
	if err := from.settle(source); err != nil {
		return s, err
	}
	s.Target = from.target
	s.Content, err = from.read(env)
	return s, err
}

// settle finds out what source, the value of src, is, and where the secret goes that says nothing of it.
func (a *asked) settle(source string) error {
	switch {
	case a.kind != "" && a.kind != "file" && a.kind != "env":
		return invalid("unknown type %q: use file or env", a.kind)
	case a.variable != "" && (source != "" || a.kind == "file"):
		return invalid("env=%s is the source already", a.variable)
	case a.kind == "env" && a.variable == "":
		if a.variable = source; source == "" {
			a.variable = a.name
		}
	case a.variable == "":
		if a.file = source; source == "" {
			a.file = a.name
		}
	}
	if a.file == "" && a.variable == "" {
		return invalid("a source is missing: src=PATH, or env=NAME")
	}
	if a.target == "" {
		if a.target = a.name; a.target == "" {
			a.target = a.variable
		}
		if a.target == "" {
			a.target = filepath.Base(a.file)
		}
	}
	return nil
}

func number(key, value string) (*int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return nil, invalid("invalid %s %q: want a number from 0 to 2147483647", key, value)
	}
	id := int(n)
	return &id, nil
}

func mode(value string) (uint32, error) {
	n, err := strconv.ParseUint(value, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return 0, invalid("invalid mode %q: want permission bits in octal, such as 0440", value)
	}
	return uint32(n), nil
}

// read gets the content. No error repeats it.
func (a *asked) read(env func(string) string) ([]byte, error) {
	if a.variable != "" {
		content := env(a.variable)
		if content == "" {
			return nil, invalid("the environment variable %s is not set, or empty", a.variable)
		}
		return bounded(strings.NewReader(content), a.variable)
	}
	name := a.file
	if rest, home := strings.CutPrefix(name, "~/"); home {
		name = filepath.Join(env("HOME"), rest)
	}
	f, err := os.Open(name) // a pipe too: src=<(command)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, invalid("read %s: %w", a.file, err)
	}
	defer f.Close()
	return bounded(f, a.file)
}

func bounded(r io.Reader, name string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, docker.MaxSecretSize+1))
	switch {
	case err != nil:
		return nil, invalid("read %s: %w", name, err)
	case len(content) == 0:
		return nil, invalid("%s is empty", name)
	case len(content) > docker.MaxSecretSize:
		return nil, invalid("%s is larger than %d bytes", name, docker.MaxSecretSize)
	}
	return content, nil
}
