package id

import (
	"errors"
	"os"
	"strings"

	"pier/lib/atomicfile"
)

// Kept returns the identifier of 32 digits that stands in the file at path. Where there is no such file it is made, with
// a new one.
func Kept(path string) (string, error) {
	kept, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		kept = []byte(New()[:32])
		err = atomicfile.Write(path, kept, 0o600)
	}
	return strings.TrimSpace(string(kept)), err
}
