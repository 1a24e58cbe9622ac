package process

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatEndsByItselfIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := errors.New("failed")
		err := Bounded(t.Context(), time.Second, func() error {
			time.Sleep(time.Hour)
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatDoesNotStopIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		release := make(chan struct{})
		if err := Bounded(ctx, 10*time.Second, func() error { <-release; return errors.New("late") }); err != nil {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != 70*time.Second {
			t.Errorf("waited for %v", waited)
		}
		close(release)
	})
}
