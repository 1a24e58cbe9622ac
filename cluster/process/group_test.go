package process

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAGroupEndsWithItsLastComponent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, running := NewGroup(t.Context())
		want := errors.New("failed")
		group.Go(func() error {
			time.Sleep(time.Hour)
			return want
		})
		group.Go(func() error {
			<-running.Done()
			time.Sleep(time.Second)
			return nil
		})
		began := time.Now()
		if err := group.Wait(time.Minute); !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != time.Hour+time.Second {
			t.Errorf("waited for %v", waited)
		}
	})
}

func TestComponentsThatDoNotStopAreGivenUp(t *testing.T) {
	failure := errors.New("the API server failed")
	for name, c := range map[string]struct {
		fail error // of another component, after a minute
		told bool  // the process is told to stop then, or a second later if that failed
		want error
	}{
		"because another failed":      {failure, false, failure},
		"because the process is told": {nil, true, nil},
		"both":                        {failure, true, failure},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			group, running := NewGroup(ctx)
			release := make(chan struct{})
			group.Go(func() error { <-release; return errors.New("late") })
			group.Go(func() error {
				select {
				case <-time.After(time.Minute):
				case <-running.Done():
				}
				stop := func() { cancel(errors.New("terminated")) } // signal.NotifyContext has such a cause
				if c.told && c.fail == nil {
					stop()
				} else if c.told {
					time.AfterFunc(time.Second, stop)
				}
				return c.fail
			})
			began := time.Now()
			if err := group.Wait(10 * time.Second); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v", name, err)
			}
			if waited := time.Since(began); waited != 70*time.Second {
				t.Errorf("%s: waited for %v", name, waited)
			}
			close(release)
		})
	}
}

func TestAGroupWithinAGroupEndsWithItsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure, release := errors.New("the scheduler failed"), make(chan struct{})
		outer, running := NewGroup(t.Context())
		outer.Go(func() error {
			inner, _ := NewGroup(running)
			inner.Go(func() error { return failure })
			inner.Go(func() error { <-release; return nil })
			return inner.Wait(time.Second)
		})
		outer.Go(func() error { <-running.Done(); <-release; return nil })
		if err := outer.Wait(time.Second); !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
		close(release)
	})
}
