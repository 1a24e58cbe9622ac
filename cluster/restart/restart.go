// Package restart keeps something running that ends when it should not.
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
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, last)
	}
}
