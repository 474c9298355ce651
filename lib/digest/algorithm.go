package digest

import (
	"crypto"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// Algorithm names a hash and the way its sum is written. Those that are not among the constants cannot be computed.
type Algorithm string

// The algorithms of the specification. All write their sums in hexadecimal digits, lower case.
const (
	SHA256 Algorithm = "sha256"
	SHA384 Algorithm = "sha384"
	SHA512 Algorithm = "sha512"

	// Canonical is what is taken where nobody says otherwise.
	Canonical = SHA256
)

// of returns the hash behind a, 0 for none.
func (a Algorithm) of() crypto.Hash {
	switch a {
	case SHA256:
		return crypto.SHA256
	case SHA384:
		return crypto.SHA384
	case SHA512:
		return crypto.SHA512
	}
	return 0
}

// Available reports whether the program can compute a: it is known, and its hash is linked.
func (a Algorithm) Available() bool {
	h := a.of()
	return h != 0 && h.Available()
}

// String implements fmt.Stringer and flag.Value.
func (a Algorithm) String() string { return string(a) }

// Size is the length of a sum in bytes, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	if h := a.of(); h != 0 {
		return h.Size()
	}
	return 0
}

// Set implements flag.Value: "" means Canonical. What is not available is ErrDigestUnsupported.
func (a *Algorithm) Set(value string) error {
	if *a = Algorithm(value); value == "" {
		*a = Canonical
	}
	if !a.Available() {
		return ErrDigestUnsupported
	}
	return nil
}

// Digester returns a new digester. The algorithm must be available.
func (a Algorithm) Digester() Digester { return &digester{a, a.Hash()} }

// Hash returns a new hash. The algorithm must be available: it panics otherwise.
func (a Algorithm) Hash() hash.Hash {
	if !a.Available() {
		panic(fmt.Sprintf("digest algorithm %q is not available: check the digest, and import the hash's package", string(a)))
	}
	return a.of().New()
}

// Encode writes a sum as it stands in a digest.
func (a Algorithm) Encode(sum []byte) string { return hex.EncodeToString(sum) }

// FromReader reads r to its end and returns the digest of that. The algorithm must be available.
func (a Algorithm) FromReader(r io.Reader) (Digest, error) {
	d := a.Digester()
	if _, err := io.Copy(d.Hash(), r); err != nil {
		return "", err
	}
	return d.Digest(), nil
}

// FromBytes returns the digest of p. The algorithm must be available.
func (a Algorithm) FromBytes(p []byte) Digest {
	d := a.Digester()
	_, _ = d.Hash().Write(p) // a hash never fails
	return d.Digest()
}

// FromString returns the digest of s. The algorithm must be available.
func (a Algorithm) FromString(s string) Digest { return a.FromBytes([]byte(s)) }

// Validate checks the part of a digest behind the colon. Errors are ErrDigestUnsupported, ErrDigestInvalidLength and
// ErrDigestInvalidFormat.
func (a Algorithm) Validate(encoded string) error {
	switch h := a.of(); {
	case h == 0:
		return ErrDigestUnsupported
	case len(encoded) != 2*h.Size():
		return ErrDigestInvalidLength
	case !all(encoded, isLowerHex):
		return ErrDigestInvalidFormat
	}
	return nil
}

func isLowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func all(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}
