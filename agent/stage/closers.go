package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/skerry-os/skerry/agent/pid1"
)

// closers are what has to be closed, or saved, before data is unmounted. They
// may be added while they are run, by a boot that does not end.
type closers struct {
	mu  sync.Mutex
	all []pid1.Hook
}

func (c *closers) add(h pid1.Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, h)
}

// run runs them at the same time, so that none takes the time of another.
func (c *closers) run(ctx context.Context) error {
	c.mu.Lock()
	all := slices.Clone(c.all)
	c.mu.Unlock()
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, h := range all {
		group.Go(func() {
			if err := guarded(func() error { return h.Run(ctx) }); err != nil {
				errs[i] = fmt.Errorf("%s: %w", h.Name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// await waits for done.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
