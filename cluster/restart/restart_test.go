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

func TestUntilTriesUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		tries := 0
		began := time.Now()
		Until(t.Context(), time.Second, 3*time.Second, func(context.Context) error {
			if tries++; tries == 5 {
				return nil
			}
			return errors.New("not yet")
		}, func(_ error, pause time.Duration) { pauses = append(pauses, pause) })
		want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}
		if tries != 5 || !slices.Equal(pauses, want) || time.Since(began) != 9*time.Second {
			t.Errorf("%d tries with pauses %v in %v", tries, pauses, time.Since(began))
		}
	})
}

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	Until(ctx, time.Hour, time.Hour, func(context.Context) error { tries++; return errors.New("never") },
		func(error, time.Duration) { cancel() })
	if tries != 1 {
		t.Errorf("%d tries", tries)
	}
}
