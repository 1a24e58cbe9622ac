package stage

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/skerry-os/skerry/agent/status"
)

// phase is one named part of the boot. A failed one does not end the boot:
// what comes later copes with what is missing.
type phase struct {
	name   string
	run    func(context.Context) error
	advice string // what a person can do when it fails
}

// guarded calls f. A mistake in it must not take the node's first process, and
// with it the kernel, down.
func guarded(f func() error) (err error) {
	defer func() {
		if mistake := recover(); mistake != nil {
			err = fmt.Errorf("panic: %v\n%s", mistake, debug.Stack())
		}
	}()
	return f()
}

// background runs f in a goroutine of its own, guarded.
func (n *node) background(source string, f func()) {
	go func() {
		if err := guarded(func() error { f(); return nil }); err != nil {
			n.log.Error("mistake", "in", source, "err", err)
			n.status.Report(source, err.Error())
		}
	}()
}

// runPhases runs the phases in order, shows and times each. It ends early when
// ctx does.
func (n *node) runPhases(ctx context.Context, phases []phase) {
	for i, p := range phases {
		if ctx.Err() != nil {
			return
		}
		shown := status.Phase{Name: p.name, Index: i + 1, Count: len(phases)}
		n.status.Update(func(s *status.Status) { s.Phase = shown })
		started := time.Now()
		err := guarded(func() error { return p.run(ctx) })
		took := time.Since(started)
		if ctx.Err() != nil {
			n.log.Info("phase abandoned", "phase", p.name, "err", err)
			return
		}
		if feeder := n.feeder.Load(); feeder != nil {
			feeder.Alive(bootLoop)
		}
		if err != nil {
			n.log.Error("phase failed", "phase", p.name, "err", err)
			n.console.PhaseFailed(shown, err, p.advice)
			n.status.Report(p.name, err.Error())
			continue
		}
		n.log.Info("phase done", "phase", p.name, "took", took.Round(time.Millisecond))
		n.console.PhaseDone(shown, took)
	}
}
