package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
)

// Boards without a clock of their own start with a time of before, and are told
// the right one seconds or days later. Certificates that were made until then
// may be too old by it, or not valid yet, and what renews them counts the time
// that passes: a new start makes all of them anew.
const (
	// askClock is how often the clock is looked at.
	askClock = 10 * time.Second
	// mostForward leaves certificates that are renewed at two thirds of their life
	// a part of the last one.
	mostForward = pki.CertificateLife / 4
	// mostBack is half of what the API server's certificate for itself, which is
	// made in its memory, is backdated (client-go, util/cert).
	mostBack = 30 * time.Minute
)

// waitForClock returns when the clock has been set.
func waitForClock(ctx context.Context, now func() time.Time, progress func(string)) error {
	for told := false; now().Before(pki.Earliest()); told = true {
		if !told {
			progress(fmt.Sprintf("waiting for the clock to be set: it says %s", now().UTC().Format(time.DateOnly)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// watchClock returns an error when certificates of the start are not good for
// the clock any more. since tells how far the clock went on since the start, and
// how much time has passed.
func watchClock(ctx context.Context, since func() (clock, passed time.Duration)) error {
	ticker := time.NewTicker(askClock)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := judgeClock(since()); err != nil {
			return err
		}
	}
}

func judgeClock(clock, passed time.Duration) error {
	step := clock - passed
	switch {
	case step > mostForward:
		return fmt.Errorf("the clock was set forward by %.0f days: starting again, with certificates of today", step.Hours()/24)
	case clock < -mostBack:
		return fmt.Errorf("the clock was set back by %.1f hours: starting again, with certificates of now", -step.Hours())
	}
	return nil
}
