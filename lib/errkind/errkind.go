// Package errkind gives every error of Pier one of a dozen kinds.
//
// A kind says what the caller can do about an error; the message says what failed, on which object, why, and what to do
// next. Rooms make errors with New, add context with fmt.Errorf and %w, and the edges (HTTP, gRPC, exit code) turn the
// kind into their own numbers, each in one table.
//
// Start reading at Kind.
package errkind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Kind is the class of an error. The zero value is Internal: an error nobody classified is our own fault.
type Kind uint8

// The kinds. Their order is not part of any wire format.
const (
	// Internal: a defect of Pier or a failing kernel call; nothing the caller did.
	Internal Kind = iota
	// Invalid: the request itself is wrong and will stay wrong.
	Invalid
	// NotFound: the named object does not exist.
	NotFound
	// Conflict: the object exists in a state, or under a name, that forbids the request now.
	Conflict
	// NotModified: the object already is as requested.
	NotModified
	// Forbidden: policy refuses, whoever asks.
	Forbidden
	// Unauthorized: credentials are missing or wrong.
	Unauthorized
	// Unavailable: a part that is needed does not answer now; trying again can help.
	Unavailable
	// Unsupported: this kernel, platform or version of Pier cannot do it.
	Unsupported
	// Exhausted: disk, memory, addresses, ports or another bounded good ran out.
	Exhausted
	// Timeout: the deadline passed.
	Timeout
	// Canceled: the caller went away or withdrew.
	Canceled
)

var names = [...]string{"internal", "invalid", "not found", "conflict", "not modified", "forbidden", "unauthorized",
	"unavailable", "unsupported", "exhausted", "timeout", "canceled"}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// New returns an error of kind k. Format and args are as for fmt.Errorf, %w included; the outermost kind wins in Of.
func New(k Kind, format string, args ...any) error {
	return &kinded{kind: k, err: fmt.Errorf(format, args...)}
}

// Of returns the kind of err: the outermost one given by New, else what the standard library's own sentinels say
// (context.Canceled, context.DeadlineExceeded, fs.ErrNotExist), else Internal. Of(nil) is Internal; do not ask it.
func Of(err error) Kind {
	var k *kinded
	switch {
	case errors.As(err, &k):
		return k.kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	}
	return Internal
}

// Is reports whether err is an error of kind k. Is(nil, k) is false for every k.
func Is(err error, k Kind) bool { return err != nil && Of(err) == k }
