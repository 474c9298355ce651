// Package etchosts changes the /etc/hosts of a container that runs. The file is bound into the container, which may write
// to it too: it is changed in place, and what is not ours in it stays.
//
// Start reading at Add.
package etchosts

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"

	"pier/lib/errkind"
)

// limit bounds what is read of a file, in bytes.
const limit = 1 << 20

// Add appends lines.
func Add(file string, lines []byte) error {
	return edit(file, func(old []byte) []byte { return append(old, lines...) })
}

// Remove takes lines out once, where they are as they were added.
func Remove(file string, lines []byte) error {
	return edit(file, func(old []byte) []byte { return bytes.Replace(old, lines, nil, 1) })
}

// Replace takes out all lines of one of names alone, and adds lines.
func Replace(file string, names []string, lines []byte) error {
	return edit(file, func(old []byte) []byte {
		var text bytes.Buffer
		for line := range strings.Lines(string(old)) {
			if words := strings.Fields(line); len(words) != 2 || !slices.Contains(names, words[1]) {
				text.WriteString(line)
			}
		}
		text.Write(lines)
		return text.Bytes()
	})
}

func edit(file string, change func(old []byte) []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return err
	}
	if len(old) > limit {
		return errkind.New(errkind.Exhausted, "%s is larger than %d bytes", file, limit)
	}
	return os.WriteFile(file, change(old), 0o644)
}
