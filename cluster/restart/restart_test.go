package restart

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausesGrowAndBeginAnewAfterALongRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		runs := []time.Duration{0, 0, 0, 0, 2 * longEnough, 0}
		failure := errors.New("ended")
		var pauses []time.Duration
		Keep(ctx, time.Second, 4*time.Second, func(context.Context) error {
			time.Sleep(runs[len(pauses)])
			return failure
		}, func(err error, pause time.Duration) {
			if !errors.Is(err, failure) {
				t.Errorf("told of %v", err)
			}
			if pauses = append(pauses, pause/time.Second); len(pauses) == len(runs) {
				cancel()
			}
		})
		if want := []time.Duration{1, 2, 4, 4, 1, 2}; !slices.Equal(pauses, want) {
			t.Errorf("paused for %d seconds, want %d", pauses, want)
		}
	})
}

func TestARunThatEndsWithTheContextIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		runs := 0
		Keep(ctx, time.Second, time.Second, func(ctx context.Context) error {
			runs++
			<-ctx.Done()
			return ctx.Err()
		}, func(err error, _ time.Duration) { t.Errorf("told of %v", err) })
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
	})
}
