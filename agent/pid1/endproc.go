package pid1

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often the process table is read while processes end.
const lookAgain = 50 * time.Millisecond

// endProcesses sends SIGTERM to every process but ourselves and kernel
// threads, and SIGKILL to those that remain after TermTime.
func (s *Shutdown) endProcesses(ctx context.Context) error {
	left, err := s.signalAll(unix.SIGTERM, unix.SIGCONT)
	if err != nil {
		return err
	}
	if left, err = s.awaitNone(ctx, s.TermTime, left, nil); err != nil || len(left) == 0 {
		return err
	}
	s.Log.Warn("shutdown: processes did not end at SIGTERM", "killing", names(left))
	// Sent in every round: what forks faster than it dies is caught at last.
	kill := func() ([]Process, error) { return s.signalAll(unix.SIGKILL) }
	if left, err = s.awaitNone(ctx, s.KillTime, left, kill); err != nil || len(left) == 0 {
		return err
	}
	return fmt.Errorf("processes that do not die: %s", names(left))
}

// awaitNone waits until no process is left, at most d long.
func (s *Shutdown) awaitNone(ctx context.Context, d time.Duration, left []Process, round func() ([]Process, error)) ([]Process, error) {
	if round == nil {
		round = func() ([]Process, error) { return s.signalAll() }
	}
	limit := time.NewTimer(d)
	defer limit.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for len(left) > 0 {
		var err error
		if left, err = round(); err != nil || len(left) == 0 {
			return left, err
		}
		select {
		case <-again.C:
		case <-limit.C:
			return left, nil
		case <-ctx.Done():
			return left, ctx.Err()
		}
	}
	return nil, nil
}

// signalAll sends the signals to all processes that have to end, and returns
// these.
func (s *Shutdown) signalAll(signals ...unix.Signal) ([]Process, error) {
	table, err := s.Sys.Processes()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	var left []Process
	for _, p := range table {
		if p.Kernel || p.Zombie || p.PID == self || p.PID == 1 {
			continue
		}
		left = append(left, p)
		for _, sig := range signals {
			// It fails only for a process that has gone.
			_ = s.Sys.Kill(p.PID, sig)
		}
	}
	return left, nil
}

// names lists some processes for a message.
func names(table []Process) string {
	const some = 10
	var b strings.Builder
	for i, p := range table {
		if i == some {
			fmt.Fprintf(&b, " and %d more", len(table)-some)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%d)", p.Name, p.PID)
	}
	return b.String()
}
