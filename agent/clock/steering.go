package clock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errNoServers = errors.New("no time server is known")
	errSteer     = errors.New("the system's clock cannot be corrected")
)

// steering is how Run corrects the clock from one round to the next.
type steering struct {
	clock   *Clock
	poll    time.Duration
	suspect *time.Duration // an offset that would be stepped if the next round agrees
}

const (
	// The poll interval grows while offsets are below calm, and shrinks when they are above rough.
	calm  = 20 * time.Millisecond
	rough = 100 * time.Millisecond
)

// round asks the servers once and corrects the clock by what they say. It returns when to ask again.
func (s *steering) round(ctx context.Context) (time.Duration, error) {
	c := s.clock
	servers := c.servers()
	if len(servers) == 0 {
		return 0, errNoServers
	}
	samples, err := c.ask(ctx, servers)
	if err != nil {
		return 0, err
	}
	best, err := choose(samples)
	if err != nil {
		return 0, err
	}
	first := c.State().Server == ""
	large := best.Offset.Abs() >= MaxSlew
	// One answer that was held up on the way is no reason to make time jump for everything that runs.
	if large && !first && (s.suspect == nil || (*s.suspect-best.Offset).Abs() >= MaxSlew) {
		s.suspect = &best.Offset
		return confirm, nil
	}
	s.suspect = nil
	if err := s.correct(best, first || large); err != nil {
		return 0, err
	}
	return s.poll, nil
}

func (s *steering) correct(best Sample, step bool) error {
	c := s.clock
	if step {
		was := c.options.System.Now()
		if err := c.options.System.Step(best.Offset); err != nil {
			return fmt.Errorf("%w: %w", errSteer, err)
		}
		s.poll = minPoll
		if err := c.options.System.Slew(0, s.poll, best.RootDistance); err != nil {
			return fmt.Errorf("%w: %w", errSteer, err)
		}
		c.options.Log.Info("clock set", "server", best.Server, "was", stamp(was), "offset", best.Offset)
	} else {
		switch abs := best.Offset.Abs(); {
		case abs < calm:
			s.poll = min(2*s.poll, maxPoll)
		case abs > rough:
			s.poll = max(s.poll/2, minPoll)
		}
		if err := c.options.System.Slew(best.Offset, s.poll, best.RootDistance); err != nil {
			return fmt.Errorf("%w: %w", errSteer, err)
		}
		c.options.Log.Debug("clock steered", "server", best.Server, "offset", best.Offset, "poll", s.poll)
	}
	c.mu.Lock()
	first := c.state.Server == ""
	c.state.Synchronised, c.state.Server, c.state.Offset = true, best.Server, best.Offset
	c.problems.servers = ""
	c.mu.Unlock()
	if step {
		c.writeRTC()
	}
	if first {
		_ = c.save(false) // a board that loses power within half an hour starts from here
	}
	return nil
}
