package stage

import (
	"context"
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

// runPhases runs the phases in order, shows and times each.
func (n *node) runPhases(ctx context.Context, phases []phase) {
	for i, p := range phases {
		shown := status.Phase{Name: p.name, Index: i + 1, Count: len(phases)}
		n.status.Update(func(s *status.Status) { s.Phase = shown })
		started := time.Now()
		err := p.run(ctx)
		took := time.Since(started)
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
