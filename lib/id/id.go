// Package id makes and shortens the identifiers of containers, networks, execs and volumes: 64 lower-case hexadecimal
// digits, as Docker clients expect them.
//
// Start reading at New.
package id

import (
	"crypto/rand"
	"encoding/hex"
)

// Len is the length of a whole identifier in characters; ShortLen that of the form shown in tables.
const (
	Len      = 64
	ShortLen = 12
)

// New returns a fresh random identifier. Its first ShortLen characters are never all decimal digits, so that a short
// identifier used as a host name cannot be taken for a number. It never fails: the kernel's random source is assumed.
func New() string {
	for {
		var b [Len / 2]byte
		_, _ = rand.Read(b[:]) // never returns an error (Go 1.24)
		s := hex.EncodeToString(b[:])
		for _, c := range s[:ShortLen] {
			if c > '9' {
				return s
			}
		}
	}
}

// Short returns the first ShortLen characters of s, or s itself where it is shorter. A digest's "sha256:" is dropped.
func Short(s string) string {
	const algorithm = "sha256:"
	if len(s) > len(algorithm) && s[:len(algorithm)] == algorithm {
		s = s[len(algorithm):]
	}
	return s[:min(len(s), ShortLen)]
}

// Valid reports whether s is a whole identifier or the beginning of one: 1 to Len lower-case hexadecimal digits.
func Valid(s string) bool {
	if s == "" || len(s) > Len {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
