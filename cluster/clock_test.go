package cluster

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
)

func TestAClockThatWasSetFarEndsThisStart(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		clock, passed time.Duration
		want          string
	}{
		{2 * time.Minute, 2 * time.Minute, ""},
		{60 * day, time.Minute, ""},
		{400 * day, 10 * time.Second, "set forward by 400 days"},
		{400 * day, 400 * day, ""},
		{400 * day, 400*day + 10*time.Minute, ""},
		{-time.Hour, time.Hour, "set back by 2.0 hours"},
		{8 * day, 9 * day, ""}, // before the start nothing was made
	} {
		err := judgeClock(tc.clock, tc.passed)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("the clock went on by %v in %v: got %v", tc.clock, tc.passed, err)
		}
	}
}

func TestTheClockIsWatchedUntilItIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, step := time.Now(), time.Duration(0)
		since := func() (clock, passed time.Duration) {
			passed = time.Since(began)
			return passed + step, passed
		}
		ctx, end := context.WithTimeout(t.Context(), 24*time.Hour)
		defer end()
		if err := watchClock(ctx, since); err != nil {
			t.Errorf("a clock that went on: %v", err)
		}
		time.AfterFunc(time.Minute, func() { step = -48 * time.Hour })
		ctx, end = context.WithTimeout(t.Context(), 2*time.Minute)
		defer end()
		if err := watchClock(ctx, since); err == nil {
			t.Error("nobody noticed a clock that was set back")
		}
	})
}

func TestNothingStartsBeforeTheClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		now := func() time.Time { // set after a while
			if passed := time.Since(began); passed < 90*time.Second {
				return time.Unix(0, 0).Add(passed)
			}
			return pki.Earliest()
		}
		var told []string
		if err := waitForClock(t.Context(), now, func(text string) { told = append(told, text) }); err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(began); passed != 90*time.Second {
			t.Errorf("waited for %v", passed)
		}
		if len(told) != 1 || told[0] != "waiting for the clock to be set: it says 1970-01-01" {
			t.Errorf("told %q", told)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), time.Hour)
		defer end()
		never := func() time.Time { return time.Time{} }
		if err := waitForClock(ctx, never, func(string) {}); err == nil {
			t.Error("a clock that is never set was taken")
		}
	})
}
