package layer

import (
	"os"
	"path/filepath"
)

// Writables lists the names of all writable layers, in no order, for owners that sweep what a crash left to them.
func (s *Store) Writables() ([]string, error) {
	w, err := s.writable("any")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Dir(filepath.Dir(w.Upper)))
	if err != nil {
		return nil, diskError("list writable layers", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}
