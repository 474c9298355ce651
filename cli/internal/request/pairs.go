package request

import (
	"os"
	"strings"

	"github.com/docker/go-units"

	"pier/lib/errkind"
)

func invalid(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }

// Variables reads the KEY=VALUE lines of files and then those given, for an environment. A bare KEY takes its value from
// env, or is left out where that has none.
func Variables(files, words []string, env func(string) string) ([]string, error) {
	return pairs("environment variable", files, words, env)
}

// pairs reads KEY=VALUE lines of files and then the words given; what names one of them in an error. A bare KEY takes its
// value from env, or is left out; where env is nil it stands for KEY=.
func pairs(what string, files, words []string, env func(string) string) ([]string, error) {
	var out []string
	add := func(pair, from string) error {
		key, _, hasValue := strings.Cut(pair, "=")
		if key == "" || strings.ContainsAny(key, " \t") && from != "" {
			return invalid("invalid %s %q%s: expected KEY=VALUE", what, pair, from)
		}
		if !hasValue && env != nil {
			value := env(key)
			if value == "" {
				return nil
			}
			pair = key + "=" + value
		}
		out = append(out, pair)
		return nil
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
			line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
			if line == "" || line[0] == '#' {
				continue
			}
			if err := add(line, " in "+path); err != nil {
				return nil, err
			}
		}
	}
	for _, word := range words {
		if err := add(word, ""); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Map reads KEY=VALUE words; a bare KEY has an empty value.
func Map(pairs []string) map[string]string {
	m := map[string]string{}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		m[key] = value
	}
	return m
}

func byteCount(flag, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(value)
	if err != nil {
		return 0, invalid("invalid argument %q for --%s: %w", value, flag, err)
	}
	return n, nil
}
