package digest

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Digest is an address of content: "sha256:7173b809...". Only Parse and Validate check it; the methods that take a
// digest apart panic where there is no colon, so whatever comes from outside is to be checked before.
type Digest string

// What Validate finds.
var (
	ErrDigestInvalidFormat = errors.New("invalid checksum digest format")
	ErrDigestInvalidLength = errors.New("invalid checksum digest length")
	ErrDigestUnsupported   = errors.New("unsupported digest algorithm")
)

// NewDigest returns the digest of what h was given; h is the hash of alg.
func NewDigest(alg Algorithm, h hash.Hash) Digest { return NewDigestFromBytes(alg, h.Sum(nil)) }

// NewDigestFromBytes returns the digest with this sum.
func NewDigestFromBytes(alg Algorithm, sum []byte) Digest {
	return NewDigestFromEncoded(alg, alg.Encode(sum))
}

// NewDigestFromEncoded puts a digest together. Nothing is checked.
func NewDigestFromEncoded(alg Algorithm, encoded string) Digest {
	return Digest(string(alg) + ":" + encoded)
}

// NewDigestFromHex is the old name of NewDigestFromEncoded.
func NewDigestFromHex(alg, encoded string) Digest {
	return NewDigestFromEncoded(Algorithm(alg), encoded)
}

// Parse returns s as a digest, and the error of Validate.
func Parse(s string) (Digest, error) {
	d := Digest(s)
	return d, d.Validate()
}

// FromReader reads r to its end and returns the canonical digest of that.
func FromReader(r io.Reader) (Digest, error) { return Canonical.FromReader(r) }

// FromBytes returns the canonical digest of p.
func FromBytes(p []byte) Digest { return Canonical.FromBytes(p) }

// FromString returns the canonical digest of s.
func FromString(s string) Digest { return Canonical.FromString(s) }

// Validate checks that d is a digest of an algorithm that is available. Errors are ErrDigestInvalidFormat,
// ErrDigestInvalidLength, and ErrDigestUnsupported for a well-formed digest of another algorithm.
func (d Digest) Validate() error {
	name, encoded, ok := strings.Cut(string(d), ":")
	if !ok || name == "" || encoded == "" {
		return ErrDigestInvalidFormat
	}
	if alg := Algorithm(name); alg.Available() {
		return alg.Validate(encoded)
	}
	if !isAlgorithm(name) || !all(encoded, isEncoded) {
		return ErrDigestInvalidFormat
	}
	return ErrDigestUnsupported
}

// isAlgorithm reports whether s is components, of small letters and digits, with one separator between each two.
func isAlgorithm(s string) bool {
	component := false // within one
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			component = true
		case component && strings.IndexByte("+._-", c) >= 0:
			component = false
		default:
			return false
		}
	}
	return component
}

func isEncoded(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("=_-", c) >= 0
}

// Algorithm is what stands before the colon.
func (d Digest) Algorithm() Algorithm { return Algorithm(d[:d.colon()]) }

// Encoded is what stands behind the colon.
func (d Digest) Encoded() string { return string(d[d.colon()+1:]) }

// Hex is the old name of Encoded.
func (d Digest) Hex() string { return d.Encoded() }

// String implements fmt.Stringer.
func (d Digest) String() string { return string(d) }

// Verifier returns what compares content with d. Its algorithm must be available.
func (d Digest) Verifier() Verifier { return verifier{d, d.Algorithm().Hash()} }

func (d Digest) colon() int {
	i := strings.IndexByte(string(d), ':')
	if i < 0 {
		panic(fmt.Sprintf("no ':' separator in digest %q", string(d)))
	}
	return i
}
