package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Removed says what became of the space.
type Removed struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // on disk
}

// Prune removes the entries of folders of the cache that were not used for
// age, and what killed builds left behind: Steps, or a folder of Sub whose
// entries have the time of their last use. With an age of 0 it removes all. It
// fails with ErrInUse while a build uses the cache.
func (c *Cache) Prune(ctx context.Context, now time.Time, age time.Duration, folders ...string) (Removed, error) {
	var removed Removed
	release, err := c.alone()
	if err != nil {
		return removed, err
	}
	defer release()
	var errs []error
	for _, folder := range folders {
		dir := filepath.Join(c.dir, folder)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return removed, err
			}
			info, err := e.Info()
			if err != nil || age > 0 && now.Sub(info.ModTime()) < age {
				continue
			}
			bytes, err := discard(dir, e.Name())
			if err != nil {
				errs = append(errs, err)
				continue
			}
			removed.Entries++
			removed.Bytes += bytes
		}
	}
	return removed, errors.Join(errs...)
}

// discard removes an entry, which loses its name first: half of a result must
// not be taken for one.
func discard(dir, name string) (bytes int64, err error) {
	path := filepath.Join(dir, name)
	if bytes, err = onDisk(path); err != nil {
		return 0, err
	}
	gone := filepath.Join(dir, ".old-"+name)
	if err := os.Rename(path, gone); err != nil {
		return 0, err
	}
	return bytes, os.RemoveAll(gone)
}
