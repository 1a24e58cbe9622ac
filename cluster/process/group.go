package process

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Group is components that run beside each other and end together: when one of
// them fails, or when the context ends that the group was made of.
type Group struct {
	components      *errgroup.Group
	parent, running context.Context
}

// NewGroup makes a group, and the context that its components are to run with.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	components, running := errgroup.WithContext(ctx)
	return &Group{components, ctx, running}, running
}

// Go runs a component.
func (g *Group) Go(run func() error) { g.components.Go(run) }

// Wait returns the first failure when all components have ended, and at the
// latest some time after they had to: components of Kubernetes that lose each
// other while all of them stop wait for answers that do not come any more. What
// they leave undone ends with the process; it is no failure if they were told to
// stop.
func (g *Group) Wait(timeout time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- g.components.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-g.running.Done():
	}
	var failure error
	if g.parent.Err() == nil {
		failure = context.Cause(g.running)
		slog.Error("a part of this process failed: the others stop", "error", failure)
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(timeout):
		slog.Warn("parts of this process did not stop in time", "waited", timeout)
		return failure
	}
}
