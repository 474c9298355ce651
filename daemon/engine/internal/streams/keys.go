package streams

import (
	"pier/api/docker"
	"pier/lib/errkind"
)

// ParseKeys is docker.DetachKeys, with an error in Docker's words.
func ParseKeys(s string) ([]byte, error) {
	keys, ok := docker.DetachKeys(s)
	if !ok {
		return nil, errkind.New(errkind.Invalid, "Invalid detach keys (%s) provided", s)
	}
	return keys, nil
}
