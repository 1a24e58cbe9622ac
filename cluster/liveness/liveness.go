// Package liveness finds out that a program hangs: that it answered, and does
// not any more. Whether what it answers is right, or its work goes on, it does
// not know.
package liveness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

const (
	// interval is how often a program is asked.
	interval = 30 * time.Second
	// answerTime is what an answer may take, on a board that is busy.
	answerTime = 30 * time.Second
	// patience is how many answers in a row may fail to come: five minutes. A restart
	// helps a program that hangs, and makes everything worse for one that has too
	// much to do.
	patience = 10
)

// ErrHangs is wrapped when a program does not answer any more.
var ErrHangs = errors.New("it does not answer any more")

// Watch asks until ctx ends, and then returns nil. It returns an error that wraps
// ErrHangs when what has answered before does not for long; ask succeeds with any
// answer. That nobody listens is no sign of that: who is not there is missed by
// whoever started it.
func Watch(ctx context.Context, ask func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for answered, silent := false, 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		limited, cancel := context.WithTimeout(ctx, answerTime)
		err := ask(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			answered, silent = true, 0
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // nobody listens
			silent = 0
		default:
			silent++
		}
		if answered && silent >= patience {
			return fmt.Errorf("%w: it was asked %d times: %w", ErrHangs, silent, err)
		}
	}
}
