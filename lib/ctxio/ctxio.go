// Package ctxio ends reading with a context.
//
// Start reading at Reader.
package ctxio

import (
	"context"
	"io"
)

// Reader returns a reader of r whose next Read fails with context.Cause of ctx once that has ended. A Read that is under way
// is not interrupted.
func Reader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (c *reader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
