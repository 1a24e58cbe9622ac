package process

import (
	"context"
	"log/slog"
	"time"
)

// Bounded returns when wait does, and at the latest some time after ctx has
// ended: components of Kubernetes that lose each other while all of them stop
// wait for answers that do not come any more. What they leave undone ends with
// the process.
func Bounded(ctx context.Context, timeout time.Duration, wait func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(timeout):
		slog.Warn("parts of this process did not stop in time", "waited", timeout)
		return nil
	}
}
