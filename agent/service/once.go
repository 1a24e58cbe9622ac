package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// abortTime is how long a service that lost its watchdog may take to
	// write down where it stands (SIGABRT) before it is killed.
	abortTime = 5 * time.Second
	// killTime is how long the kernel may take to end what was killed before
	// that is worth a message.
	killTime = 10 * time.Second
	// releaseTime bounds clearing up after a run.
	releaseTime = 10 * time.Second
	// extendAtMost is how many times its timeout a service can make a phase
	// last with EXTEND_TIMEOUT_USEC.
	extendAtMost = 4
)

// phase of a run.
type phase int

const (
	starting phase = iota
	ready
	reloading
	stopping
	aborting // SIGABRT was sent
	killing
)

// supervision is the state of one run. It lives in one goroutine.
type supervision struct {
	*runner
	run   run
	log   *slog.Logger
	phase phase

	limit    *time.Timer   // of the phase
	begin    time.Time     // of the phase
	timeout  time.Duration // of the phase; 0 for none
	deadline time.Time     // when limit fires

	watchdog *time.Timer

	readySince time.Time
	failure    error // why we end the run; nil if it ends by itself or on request
	note       string
}

// once starts the program and stays with it until no process of it is left.
func (r *runner) once(ctx context.Context) outcome {
	r.drain()
	p, err := r.sup.start(r.spec)
	if err != nil {
		return outcome{err: err}
	}
	v := &supervision{runner: r, run: p, log: r.sup.log.With("service", r.spec.Name), limit: stopped(), watchdog: stopped()}
	defer v.limit.Stop()
	defer v.watchdog.Stop()
	r.sup.update(r, func(st *Status) { st.State, st.PID, st.Text = Starting, p.PID(), "" })
	if r.spec.Notify {
		v.enter(starting, r.spec.StartTimeout)
	} else {
		v.becomeReady()
	}
	return v.follow(ctx)
}

// drain drops what an earlier run said.
func (r *runner) drain() {
	for {
		select {
		case <-r.messages:
		default:
			return
		}
	}
}

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// follow handles what happens until the run is over.
func (v *supervision) follow(ctx context.Context) outcome {
	asked, killNow := ctx.Done(), v.sup.killNow
	for {
		select {
		case <-v.run.Exited():
			return v.ended(ctx)
		case m := <-v.messages:
			if v.run.Owns(m.pid) {
				v.handle(m.notification)
			} else {
				v.log.Debug("notification from outside the service ignored", "pid", m.pid)
			}
		case <-asked:
			asked = nil
			if v.phase < stopping {
				v.terminate()
			}
		case <-killNow:
			killNow = nil
			v.kill()
		case <-v.watchdog.C:
			v.lostWatchdog(fmt.Errorf("watchdog: no sign of life for %v", v.spec.WatchdogInterval))
		case <-v.limit.C:
			if gaveUp := v.overdue(ctx); gaveUp {
				return outcome{err: fmt.Errorf("process %d does not die of SIGKILL", v.run.PID())}
			}
		}
	}
}

// enter begins a phase that may last for d; 0 means without end.
func (v *supervision) enter(p phase, d time.Duration) {
	v.phase, v.timeout, v.begin = p, d, time.Now()
	if d == 0 {
		v.limit.Stop()
		return
	}
	v.deadline = v.begin.Add(d)
	v.limit.Reset(d)
}

// extend grants more time, but not without bound.
func (v *supervision) extend(d time.Duration) {
	if v.timeout == 0 || v.phase > stopping {
		return
	}
	now := time.Now()
	last := v.begin.Add(extendAtMost * v.timeout)
	wish := last
	if d < last.Sub(now) {
		wish = now.Add(d)
	}
	if wish.After(v.deadline) {
		v.deadline = wish
		v.limit.Reset(wish.Sub(now))
	}
}

func (v *supervision) handle(n notification) {
	if n.hasStatus {
		v.sup.update(v.runner, func(st *Status) { st.Text = n.status })
	}
	v.remember(n)
	if n.extend > 0 {
		v.extend(n.extend)
	}
	if v.phase >= stopping {
		return
	}
	if n.watchdog && v.phase != starting && v.spec.WatchdogInterval > 0 {
		v.watchdog.Reset(v.spec.WatchdogInterval)
	}
	switch {
	case n.trigger:
		v.lostWatchdog(fmt.Errorf("watchdog: the service asked to be restarted"))
	case n.stopping:
		v.watchdog.Stop()
		v.enter(stopping, v.spec.StopTimeout)
		v.sup.update(v.runner, func(st *Status) { st.State = Stopping })
	case n.reloading && v.phase == ready:
		v.enter(reloading, v.spec.StartTimeout)
	case n.ready && v.phase != ready:
		v.becomeReady()
	}
}

func (v *supervision) becomeReady() {
	first := v.phase == starting
	v.enter(ready, 0)
	if v.spec.WatchdogInterval > 0 {
		v.watchdog.Reset(v.spec.WatchdogInterval)
	}
	if !first {
		return
	}
	v.readySince = time.Now()
	v.log.Info("service is ready", "pid", v.run.PID())
	v.sup.update(v.runner, func(st *Status) {
		st.State, st.LastError, st.LastOutput = Ready, "", nil
	})
}

// terminate asks the service to end.
func (v *supervision) terminate() {
	v.watchdog.Stop()
	v.enter(stopping, v.spec.StopTimeout)
	v.sup.update(v.runner, func(st *Status) { st.State = Stopping })
	v.signal(unix.SIGTERM)
}

// lostWatchdog ends a service that hangs. SIGABRT first: Go programs and many
// others then print where they hang.
func (v *supervision) lostWatchdog(why error) {
	if v.phase >= stopping {
		return
	}
	v.failure = why
	v.log.Warn("service does not answer, aborting it", "why", why)
	v.watchdog.Stop()
	v.enter(aborting, abortTime)
	v.sup.update(v.runner, func(st *Status) { st.State = Stopping })
	v.signal(unix.SIGABRT)
}

func (v *supervision) kill() {
	v.enter(killing, killTime)
	if err := v.run.Kill(); err != nil {
		v.log.Warn("cannot kill the service's processes", "err", err)
	}
}

// signal sends a signal to the main process; if that fails, the phase's time
// limit ends in killing.
func (v *supervision) signal(s unix.Signal) {
	if err := v.run.Signal(s); err != nil {
		v.log.Warn("cannot signal the service", "signal", unix.SignalName(s), "err", err)
	}
}

// overdue handles the end of a phase's time. It returns true when there is
// nothing more to try and the service was to stop.
func (v *supervision) overdue(ctx context.Context) (gaveUp bool) {
	switch v.phase {
	case starting, reloading:
		v.failure = fmt.Errorf("not ready after %v", time.Since(v.begin).Round(time.Millisecond))
		v.log.Warn("service is late, stopping it", "why", v.failure)
		v.terminate()
	case stopping, aborting:
		v.log.Warn("service did not end in time, killing it", "waited", time.Since(v.begin).Round(time.Millisecond))
		v.kill()
	case killing:
		v.log.Warn("service does not die: it hangs in the kernel", "pid", v.run.PID())
		if ctx.Err() != nil {
			return true
		}
		// A second copy next to it could do harm: wait, and kill again.
		v.kill()
	}
	return false
}

// hearLastWords takes what was said last, which may be behind the exit: in the
// queue, or on its way there. Of a service that was to stop nobody waits for it.
func (v *supervision) hearLastWords(ctx context.Context) {
	var wait time.Duration
	if v.spec.Notify && ctx.Err() == nil {
		wait = v.sup.lastWords
	}
	take := func(m message) {
		if m.pid != v.run.PID() {
			return
		}
		if m.ready && v.readySince.IsZero() {
			v.readySince = time.Now()
		}
		if m.hasStatus {
			v.sup.update(v.runner, func(st *Status) { st.Text = m.status })
		}
		v.remember(m.notification)
	}
	timeout := time.After(wait)
	for waiting := true; waiting; {
		select {
		case m := <-v.messages:
			take(m)
		case <-timeout:
			waiting = false
		}
	}
	for range len(v.messages) {
		take(<-v.messages)
	}
}

// ended clears up after the main process has ended and judges the run.
func (v *supervision) ended(ctx context.Context) outcome {
	v.hearLastWords(ctx)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err := v.run.Release(release); err != nil {
		v.log.Warn("cannot clear up after the service", "err", err)
	}
	end := outcome{output: v.run.Output()}
	if !v.readySince.IsZero() {
		end.readyFor = time.Since(v.readySince)
	}
	result := v.run.Result()
	switch {
	case v.failure != nil:
		end.err = v.failure
	case ctx.Err() != nil:
		// Stopped on request: how it ended does not matter.
		return end
	case result != nil:
		end.err = result
	case v.spec.Notify && v.readySince.IsZero():
		end.err = fmt.Errorf("it ended with status 0 before it was ready")
	}
	if end.err != nil && v.note != "" {
		end.err = fmt.Errorf("%w (%s)", end.err, v.note)
	}
	return end
}

// remember keeps what may explain the end.
func (v *supervision) remember(n notification) {
	if n.errno != 0 {
		v.note = fmt.Sprintf("ERRNO %d: %v", n.errno, unix.Errno(n.errno))
	}
	if n.exitStatus != "" {
		v.note = "EXIT_STATUS " + n.exitStatus
	}
}
