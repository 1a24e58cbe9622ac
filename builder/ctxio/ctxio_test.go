package ctxio

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := Reader(ctx, strings.NewReader("xy"))
	if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("before: %d, %v", n, err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		t.Errorf("after: %v", err)
	}
}
