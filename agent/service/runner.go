package service

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Pauses between a failure and the next start double from first to last. A run
// that was ready for longer than steady counts as a success, and the next
// failure starts at first again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	steady     = 2 * time.Minute
)

// runner keeps one service running.
type runner struct {
	spec     Spec
	sup      *Supervisor
	messages chan message
	started  bool
	cancel   context.CancelFunc
	done     chan struct{}

	// Guarded by sup.mu:
	status   Status
	complete bool // it did its work and ended by itself
}

// supervise runs the service until it is stopped or has ended for good.
func (r *runner) supervise(ctx context.Context) {
	defer close(r.done)
	log := r.sup.log.With("service", r.spec.Name)
	var pause time.Duration
	for {
		if !r.awaitTurn(ctx) {
			return
		}
		end := r.once(ctx)
		if ctx.Err() != nil {
			r.finish(end, false)
			return
		}
		if end.err == nil && r.spec.Restart != Always || end.err != nil && r.spec.Restart == Never {
			if end.err != nil {
				log.Error("service failed and is not started again", "err", end.err)
			} else {
				log.Info("service has ended")
			}
			r.finish(end, end.err == nil)
			return
		}
		pause = nextPause(pause, end.readyFor)
		if end.err != nil {
			log.Error("service failed", "err", end.err, "again-in", pause)
		} else {
			log.Info("service has ended", "again-in", pause)
		}
		r.sup.update(r, func(st *Status) {
			end.record(st)
			st.State, st.RestartAt = BackingOff, time.Now().Add(pause)
		})
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			r.finish(outcome{}, false)
			return
		case <-timer.C:
		}
		r.sup.update(r, func(st *Status) { st.Restarts++; st.RestartAt = time.Time{} })
	}
}

func nextPause(last, readyFor time.Duration) time.Duration {
	if last == 0 || readyFor >= steady {
		return firstPause
	}
	return min(2*last, lastPause)
}

// outcome is how a run ended.
type outcome struct {
	err      error // nil for success
	output   []string
	readyFor time.Duration
}

func (o *outcome) record(st *Status) {
	st.LastError, st.LastOutput = "", nil
	if o.err != nil {
		st.LastError, st.LastOutput = o.err.Error(), o.output
		// What a service said of itself before it ended often says why it did. While
		// it waits, the text is ours.
		if st.Text != "" && st.State != Waiting {
			st.LastError += ", after it said: " + st.Text
		}
	}
	st.PID, st.Text = 0, ""
}

// finish sets the state a service ends in.
func (r *runner) finish(end outcome, complete bool) {
	r.sup.update(r, func(st *Status) {
		r.complete = complete
		end.record(st)
		st.RestartAt = time.Time{}
		st.State = Stopped
		if end.err != nil {
			st.State = Failed
		}
	})
}

// awaitTurn waits until the service may start. It returns false, with the
// final state set, if that will not be.
func (r *runner) awaitTurn(ctx context.Context) bool {
	for {
		missing, changed, err := r.sup.readiness(r.spec)
		if ctx.Err() != nil {
			r.finish(outcome{}, false)
			return false
		}
		if err != nil {
			err = fmt.Errorf("start %s: %w", r.spec.Name, err)
			r.sup.log.Error("service cannot start", "service", r.spec.Name, "err", err)
			r.finish(outcome{err: err}, false)
			return false
		}
		if len(missing) == 0 {
			return true
		}
		r.sup.update(r, func(st *Status) {
			st.State, st.Text = Waiting, "for "+strings.Join(missing, ", ")
		})
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}
