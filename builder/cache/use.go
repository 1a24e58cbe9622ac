package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrInUse says that a build uses the cache, whose results must stay.
var ErrInUse = errors.New("a build is using the cache: try again when it has ended")

const useLock = "use.lock"

// Use keeps everything in the cache until release is called. Builds do not
// keep each other out; what removes results waits for none of them.
func (c *Cache) Use(ctx context.Context) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, useLock), os.O_RDONLY|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return func() {}, nil // nor can it be removed from
	}
	if err != nil {
		return nil, fmt.Errorf("use the cache: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, fmt.Errorf("use the cache: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// alone makes sure that nobody uses the cache.
func (c *Cache) alone() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, useLock), os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	return func() { f.Close() }, nil
}
