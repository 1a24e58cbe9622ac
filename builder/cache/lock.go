package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock makes builds that want the same step at the same time take turns: the
// second finds the first one's result instead of making its own. The kernel
// drops the lock of a build that dies.
func (c *Cache) lock(ctx context.Context, step string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, step+".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("step %s: lock the cache: %w", step, err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, fmt.Errorf("step %s: lock the cache: %w", step, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
