// Package netfiles keeps the files that tell a container its name and its network: /etc/hostname, /etc/hosts and
// /etc/resolv.conf. They lie in a folder of the host and are bound into the container, which may write to them too: while
// it runs they are changed in place, and what is not ours in them stays.
//
// Start reading at Dir.
package netfiles

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pier/lib/errkind"
)

// Dir is the folder of one container's files.
type Dir string

// Hostname is where /etc/hostname is.
func (d Dir) Hostname() string { return filepath.Join(string(d), "hostname") }

// Hosts is where /etc/hosts is.
func (d Dir) Hosts() string { return filepath.Join(string(d), "hosts") }

// ResolvConf is where /etc/resolv.conf is.
func (d Dir) ResolvConf() string { return filepath.Join(string(d), "resolv.conf") }

// Binds leads from each path in the container to the file that is seen there.
func (d Dir) Binds() map[string]string {
	return map[string]string{"/etc/hostname": d.Hostname(), "/etc/hosts": d.Hosts(), "/etc/resolv.conf": d.ResolvConf()}
}

// Write writes them all, before a start.
func (d Dir) Write(hostname string, hosts, resolvConf []byte) error {
	for name, content := range map[string][]byte{d.Hostname(): []byte(hostname + "\n"), d.Hosts(): hosts, d.ResolvConf(): resolvConf} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// SetResolvConf replaces what is in /etc/resolv.conf.
func (d Dir) SetResolvConf(content []byte) error { return os.WriteFile(d.ResolvConf(), content, 0o644) }

// AddHosts appends lines to /etc/hosts.
func (d Dir) AddHosts(lines []byte) error {
	return d.edit(func(old []byte) []byte { return append(old, lines...) })
}

// RemoveHosts takes lines out of /etc/hosts once, where they are as they were added.
func (d Dir) RemoveHosts(lines []byte) error {
	return d.edit(func(old []byte) []byte { return bytes.Replace(old, lines, nil, 1) })
}

// ReplaceHosts takes all lines of one of names alone out of /etc/hosts, and adds lines.
func (d Dir) ReplaceHosts(names []string, lines []byte) error {
	return d.edit(func(old []byte) []byte {
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

// limit bounds what is read of a file, in bytes.
const limit = 1 << 20

func (d Dir) edit(change func(old []byte) []byte) error {
	f, err := os.Open(d.Hosts())
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return err
	}
	if len(old) > limit {
		return errkind.New(errkind.Exhausted, "%s is larger than %d bytes", f.Name(), limit)
	}
	return os.WriteFile(d.Hosts(), change(old), 0o644)
}
