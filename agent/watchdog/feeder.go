// Package watchdog keeps the hardware watchdog fed while the agent's own loops
// turn, and only then: a node whose agent hangs is reset and boots the default
// slot. It follows Documentation/watchdog/watchdog-api.rst of the kernel.
//
// Once armed a watchdog is never stopped, over a reboot either: a shutdown that
// hangs is cut too, as far as the driver lets it (some stop by themselves when
// the kernel reboots). Loading a driver is left to package modules.
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Times a node uses.
const (
	// Timeout is how long a hung node waits for its reset. Slower boards are
	// busy for seconds at a time; a minute of a dead node is too long.
	Timeout = 30 * time.Second
	// ShutdownTimeout bounds a shutdown: services, sync and unmounts have their
	// own, shorter deadlines within it.
	ShutdownTimeout = 120 * time.Second

	pretimeout = 5 * time.Second
	source     = "watchdog" // of the problems it reports
)

// Problems takes what is wrong; *status.Recorder is one.
type Problems interface {
	Report(source, text string)
	Clear(source string)
}

// Feeder feeds a device while all registered loops are alive.
type Feeder struct {
	device   Device
	log      *slog.Logger
	problems Problems

	mu      sync.Mutex
	timeout time.Duration // what the device took
	loops   map[string]*loop
	stalled bool
	until   time.Time     // shutting down: feed until then, loops or not
	closing chan struct{} // closed by Shutdown
}

type loop struct {
	bound time.Duration
	last  time.Time
}

// NewFeeder sets the device's timeout to about timeout (whole seconds; the
// device has the last word) and feeds it for the first time. It reports a reset
// by the watchdog as a problem of this boot. The feeder is usable in any case,
// as the device is armed; the error says what the device refused.
func NewFeeder(d Device, timeout time.Duration, log *slog.Logger, problems Problems) (*Feeder, error) {
	took, err := d.SetTimeout(timeout)
	if err != nil {
		// It is armed with a time nobody knows: feed it often.
		took = timeout
		err = fmt.Errorf("%w: it is fed as if it had taken that", err)
	}
	f := &Feeder{
		device: d, log: log, problems: problems,
		timeout: took, loops: map[string]*loop{}, closing: make(chan struct{}),
	}
	if took > 2*pretimeout {
		if err := d.SetPretimeout(pretimeout); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			log.Warn("watchdog gives no warning before a reset", "error", err)
		}
	}
	if status, statusErr := d.BootStatus(); statusErr != nil {
		log.Debug("watchdog does not say why the machine was reset", "error", statusErr)
	} else if text := status.String(); text != "" {
		log.Warn("last reset", "reason", text)
		if status.ByWatchdog() {
			problems.Report("last boot", "the watchdog reset the node: its agent or kernel hung: see the logs before that time")
		}
	}
	return f, errors.Join(err, d.KeepAlive())
}

// String describes the guard for the node's status, as "iTCO_wdt, 30 s".
func (f *Feeder) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%s, %d s", f.device.Identity(), f.timeout/time.Second)
}

// Register adds a loop that promises to call Alive at least every bound. It
// counts as alive now. A bound shorter than the loop's longest legitimate pause
// resets healthy nodes.
func (f *Feeder) Register(name string, bound time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loops[name] = &loop{bound: bound, last: time.Now()}
}

// Unregister takes a loop away that ended as it should.
func (f *Feeder) Unregister(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.loops, name)
}

// Alive says that the loop turned. A name nobody registered is ignored.
func (f *Feeder) Alive(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.loops[name]; l != nil {
		l.last = time.Now()
	}
}

// Run feeds the device, three times within its timeout, for as long as every
// registered loop is within its bound; with no loop registered nothing proves
// life and it does not feed. It returns when ctx ends (the device stays armed)
// or when a shutdown has had its time.
func (f *Feeder) Run(ctx context.Context) {
	f.mu.Lock()
	ticker := time.NewTicker(f.timeout / 3)
	f.mu.Unlock()
	defer ticker.Stop()
	closing := f.closing
	for {
		select {
		case <-ctx.Done():
			return
		case <-closing:
			closing = nil
			f.mu.Lock()
			ticker.Reset(f.timeout / 3)
			f.mu.Unlock()
			if !f.check(time.Now()) {
				return
			}
		case <-ticker.C:
			if !f.check(time.Now()) {
				return
			}
		}
	}
}

// check feeds the device if that is deserved. It returns false when a shutdown
// has used its time up.
func (f *Feeder) check(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.until.IsZero() {
		if !now.Before(f.until) {
			return false
		}
		f.feed()
		return true
	}
	late := f.late(now)
	if len(late) == 0 && len(f.loops) > 0 {
		if f.stalled {
			f.stalled = false
			f.problems.Clear(source)
			f.log.Info("watchdog fed again")
		}
		f.feed()
		return true
	}
	if !f.stalled {
		f.stalled = true
		text := fmt.Sprintf("not fed, resets the node within %v: no sign of life from %s", f.timeout, strings.Join(late, ", "))
		if len(late) == 0 {
			text = "not fed: no loop of the agent is registered with it"
		}
		f.problems.Report(source, text)
		f.log.Error("watchdog is not fed", "late", late, "timeout", f.timeout)
	}
	return true
}

func (f *Feeder) late(now time.Time) []string {
	var names []string
	for name, l := range f.loops {
		if now.Sub(l.last) > l.bound {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (f *Feeder) feed() {
	if err := f.device.KeepAlive(); err != nil {
		f.log.Error("feed watchdog", "error", err)
	}
}

// Shutdown leaves the node limit to shut down in, from now; after it the
// watchdog resets the machine whatever hangs. A device that cannot count that
// long is fed by Run until its own timeout ends at limit. Loops no longer
// matter, as they end now. Only the first call counts.
func (f *Feeder) Shutdown(limit time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.until.IsZero() {
		return
	}
	// A pretimeout's panic would beat the end of an orderly shutdown.
	if err := f.device.SetPretimeout(0); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.log.Warn("watchdog keeps its warning", "error", err)
	}
	if took, err := f.device.SetTimeout(limit); err != nil {
		f.log.Warn("watchdog keeps its timeout at shutdown", "error", err)
	} else {
		f.timeout = took
	}
	f.feed()
	f.until = time.Now().Add(max(0, limit-f.timeout))
	close(f.closing)
}
