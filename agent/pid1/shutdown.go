package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Shutdown brings the system down: services, then all other processes, then
// the disks, then reboot(2). Each step is bounded, a step that hangs is left
// behind, and should everything hang, reboot(2) comes when Total is over.
// Zero times take the defaults.
type Shutdown struct {
	Log *slog.Logger
	Sys System

	// StopServices stops what is supervised, in its own order. Its context
	// ends when ServicesTime is over.
	StopServices func(context.Context) error
	ServicesTime time.Duration // default 60 s

	// TermTime and KillTime bound how long processes may take to end after
	// SIGTERM and after SIGKILL. Defaults 5 s and 5 s.
	TermTime, KillTime time.Duration

	// SyncTime bounds each sync. Default 15 s: memory cards are slow.
	SyncTime time.Duration

	// Hooks run after the processes are gone and before disks are unmounted:
	// saving the clock, the last lines of the log. Default time 5 s each.
	Hooks    []Hook
	HookTime time.Duration

	// Keep are the mount points that stay, with the pseudo file systems
	// below them. Default /, /proc, /sys, /dev and /run.
	Keep        []string
	UnmountTime time.Duration // for one mount; default 3 s

	// Total bounds everything. Default 2 min.
	Total time.Duration
}

// Hook saves something at the end.
type Hook struct {
	Name string
	Run  func(context.Context) error
}

func (s *Shutdown) setDefaults() {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&s.ServicesTime, time.Minute},
		{&s.TermTime, 5 * time.Second},
		{&s.KillTime, 5 * time.Second},
		{&s.SyncTime, 15 * time.Second},
		{&s.HookTime, 5 * time.Second},
		{&s.UnmountTime, 3 * time.Second},
		{&s.Total, 2 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	if s.Keep == nil {
		s.Keep = []string{"/", "/proc", "/sys", "/dev", "/run"}
	}
}

// Run brings the system down as the first request says. An immediate one, that
// or a later one, or the end of Total, cuts everything short. Run returns only
// if reboot(2) failed, or in a test.
func (s *Shutdown) Run(ctx context.Context, first Request, requests <-chan Request) error {
	s.setDefaults()
	action := first.Action
	if first.Immediate {
		s.warn("going down at once", "reason", first.Reason)
		return s.end(action)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The alarm runs apart from the steps: what they are stuck in does not
	// matter to it.
	total := time.NewTimer(s.Total)
	defer total.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.steps(ctx, action)
	}()
	for {
		select {
		case <-done:
			return s.end(action)
		case <-total.C:
			s.warn("shutdown not complete in time: forced", "limit", s.Total)
			return s.end(action)
		case q, ok := <-requests:
			if !ok {
				requests = nil
			} else if q.Immediate {
				s.warn("shutdown cut short", "reason", q.Reason)
				return s.end(q.Action)
			}
		}
	}
}

// warn logs without waiting: a log that hangs must not keep the end away.
func (s *Shutdown) warn(msg string, args ...any) {
	go s.Log.Warn(msg, args...)
}

func (s *Shutdown) end(action Action) error {
	if err := s.Sys.Reboot(action.command()); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

func (s *Shutdown) steps(ctx context.Context, action Action) {
	s.Log.Info("going down", "action", action)
	if s.StopServices != nil {
		s.step(ctx, "stop services", s.ServicesTime, s.StopServices)
	}
	// The time for both signals and what listing processes may take.
	s.step(ctx, "end processes", s.TermTime+s.KillTime+time.Second, s.endProcesses)
	s.step(ctx, "sync disks", s.SyncTime, s.sync)
	for _, h := range s.Hooks {
		s.step(ctx, h.Name, s.HookTime, h.Run)
	}
	s.unmountAll(ctx)
	// What could not be unmounted or made read-only.
	s.step(ctx, "sync disks again", s.SyncTime, s.sync)
}

func (s *Shutdown) sync(context.Context) error {
	s.Sys.Sync()
	return nil
}

// step runs f for at most d, and a little more if f heeds its context. A step
// that hangs in the kernel is left running.
func (s *Shutdown) step(ctx context.Context, name string, d time.Duration, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	begin := time.Now()
	err := bounded(ctx, d+time.Second, f)
	took := time.Since(begin).Round(time.Millisecond)
	if err != nil {
		s.Log.Warn("shutdown: "+name+" failed, going on", "err", err, "took", took)
		return
	}
	s.Log.Info("shutdown: "+name, "took", took)
}

// errHung stands for a call that did not return in time.
var errHung = errors.New("it hangs")

// bounded calls f and waits for it for at most d.
func bounded(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("panic: %v", p)
			}
		}()
		result <- f(ctx)
	}()
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case err := <-result:
		return err
	case <-limit.C:
		return fmt.Errorf("%w: left behind after %v", errHung, d)
	}
}
