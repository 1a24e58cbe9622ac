package clock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxAddresses bounds how many servers are asked in one round.
const maxAddresses = 8

// grace is how long the others are waited for once one server has answered.
const grace = time.Second

// holds remembers which addresses asked not to be asked, until when.
type holds map[string]hold

type hold struct {
	until time.Time
	wait  time.Duration
}

const (
	firstHold = maxPoll
	longHold  = 24 * time.Hour
)

// kiss notes a kiss-o'-death: a server that denies access is left alone for a day, one that is asked too often for
// longer each time.
func (h holds) kiss(address, code string, now time.Time) {
	if len(h) >= 64 { // names may resolve to ever new addresses
		for a, x := range h {
			if x.until.Before(now) || len(h) >= 64 {
				delete(h, a)
			}
		}
	}
	wait := longHold
	if code != "DENY" && code != "RSTR" {
		wait = min(max(2*h[address].wait, firstHold), longHold)
	}
	h[address] = hold{until: now.Add(wait), wait: wait}
}

func (h holds) held(address string, now time.Time) bool { return now.Before(h[address].until) }

// outcome is what one address answered.
type outcome struct {
	address string
	sample  Sample
	err     error
}

// ask queries all servers at once and returns the samples that can be believed by themselves. The error says why
// there are none.
func (c *Clock) ask(ctx context.Context, servers []string) ([]Sample, error) {
	var addresses []string
	var errs []error
	seen := map[string]bool{}
	for _, s := range servers {
		list, err := c.options.resolve(ctx, s)
		if err != nil {
			errs = append(errs, err)
		}
		for _, a := range list {
			if !seen[a] && len(addresses) < maxAddresses && !c.holds.held(a, time.Now()) {
				addresses = append(addresses, a)
			}
			seen[a] = true
		}
	}
	if len(addresses) == 0 && len(errs) == 0 {
		return nil, errors.New("every time server asked to be left alone for a while")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, len(addresses))
	for _, a := range addresses {
		go func() {
			s, err := c.options.query(ctx, a)
			outcomes <- outcome{a, s, err}
		}()
	}
	var samples []Sample
	var late <-chan time.Time
	for range addresses {
		select {
		case <-late:
			return samples, nil
		case o := <-outcomes:
			err := o.err
			if err == nil {
				err = c.plausible(o.sample)
			}
			var kiss kissError
			if errors.As(err, &kiss) {
				c.holds.kiss(o.address, kiss.code, time.Now())
			}
			if err != nil {
				c.options.Log.Debug("time server not used", "error", err)
				errs = append(errs, err)
				continue
			}
			samples = append(samples, o.sample)
			if late == nil {
				timer := time.NewTimer(grace)
				defer timer.Stop()
				late = timer.C
			}
		}
	}
	if len(samples) == 0 {
		return nil, errors.Join(errs...)
	}
	return samples, nil
}

// plausible refuses what would set the clock before the floor or after the ceiling.
func (c *Clock) plausible(s Sample) error {
	t := c.options.System.Now().Add(s.Offset).UTC()
	floor := c.State().Floor
	if t.Before(floor) {
		return belowFloorError{s.Server, t, floor}
	}
	if !t.Before(c.options.Ceiling) {
		return fmt.Errorf("time server %s says %s, which is not believed", s.Server, t.Format(time.RFC3339))
	}
	return nil
}

// belowFloorError is an answer from before the floor. Either the server is wrong, or the floor is.
type belowFloorError struct {
	server string
	time   time.Time
	floor  time.Time
}

func (e belowFloorError) Error() string {
	return fmt.Sprintf("time server %s says %s, but this node has seen %s", e.server,
		e.time.Format(time.RFC3339), e.floor.UTC().Format(time.RFC3339))
}
