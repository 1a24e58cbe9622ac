// Package restart keeps something running that ends when it should not, and has
// something done that fails at first.
package restart

import (
	"context"
	"time"
)

// longEnough is a run after which the pauses begin anew.
const longEnough = time.Minute

// Keep calls run again and again until ctx ends, with a pause after each that
// doubles from first to last. It tells of each end.
func Keep(ctx context.Context, first, last time.Duration, run func(context.Context) error, ended func(err error, pause time.Duration)) {
	pause := first
	for {
		began := time.Now()
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longEnough {
			pause = first
		}
		ended(err, pause)
		if !wait(ctx, pause) {
			return
		}
		pause = min(2*pause, last)
	}
}

// Until calls try again and again until it succeeds or ctx ends, with a pause
// after each failure that doubles from first to last. It tells of each failure.
func Until(ctx context.Context, first, last time.Duration, try func(context.Context) error, failed func(err error, pause time.Duration)) {
	for pause := first; ; pause = min(2*pause, last) {
		err := try(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		failed(err, pause)
		if !wait(ctx, pause) {
			return
		}
	}
}

// wait waits, and tells whether ctx goes on.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
