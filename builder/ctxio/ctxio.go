// Package ctxio makes copying interruptible.
package ctxio

import (
	"context"
	"io"
)

// Reader reads what r has until ctx ends, and fails with its error from then on.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
