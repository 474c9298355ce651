package digest

import (
	"hash"
	"io"
)

// Digester computes the digest of what is written to its hash. It is for one goroutine.
type Digester interface {
	// Hash is the running hash: always the same one.
	Hash() hash.Hash
	// Digest is that of what was written so far.
	Digest() Digest
}

type digester struct {
	alg  Algorithm
	hash hash.Hash
}

func (d *digester) Hash() hash.Hash { return d.hash }
func (d *digester) Digest() Digest  { return NewDigest(d.alg, d.hash) }

// Verifier compares what is written to it with a digest. It is for one goroutine.
type Verifier interface {
	io.Writer
	// Verified reports whether what was written so far is the digest's content.
	Verified() bool
}

type verifier struct {
	digest Digest
	hash   hash.Hash
}

func (v verifier) Write(p []byte) (int, error) { return v.hash.Write(p) }
func (v verifier) Verified() bool              { return v.digest == NewDigest(v.digest.Algorithm(), v.hash) }
