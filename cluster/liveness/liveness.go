// Package liveness finds out that a program hangs: that it answered, and does
// not any more.
package liveness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// interval is how often a program is asked.
	interval = 30 * time.Second
	// answerTime is what an answer may take, on a board that is busy.
	answerTime = 30 * time.Second
	// refusalTime is within what a machine says that nobody listens. Clients give up
	// by themselves before answerTime, those of TLS after ten seconds.
	refusalTime = 5 * time.Second
	// patience is how long answers may fail to come. A restart helps a program that
	// hangs, and makes everything worse for one that has too much to do.
	patience = 5 * time.Minute
)

// ErrHangs is wrapped when a program does not answer any more.
var ErrHangs = errors.New("it does not answer any more")

// Watch asks until ctx ends, and then returns nil. It returns an error that wraps
// ErrHangs when what has answered before has not answered for long; ask succeeds
// with any answer. An error that comes at once is no sign of that: nobody listens,
// and who is not there is missed by whoever started it.
func Watch(ctx context.Context, ask func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for answered, last := false, time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		asked := time.Now()
		limited, cancel := context.WithTimeout(ctx, answerTime)
		err := ask(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			answered, last = true, time.Now()
		case time.Since(asked) < refusalTime:
			last = time.Now()
		case answered && time.Since(last) > patience:
			return fmt.Errorf("no answer for %v (%w): %w", time.Since(last).Round(time.Second), err, ErrHangs)
		}
	}
}
