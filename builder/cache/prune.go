package cache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Removed says what became of the space.
type Removed struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // on disk
}

// Keep is what Prune leaves of the folders it is told.
type Keep struct {
	Age   time.Duration // what was used within it; 0 keeps nothing
	Bytes int64         // of that what was used last, until it takes so much on disk; 0 is no limit
}

// Prune removes what keep does not say of the entries of folders of the cache,
// and what killed builds left behind there: of Steps, or of a folder of Sub whose
// entries have the time of their last use. It fails with ErrInUse while a build
// uses the cache.
func (c *Cache) Prune(ctx context.Context, now time.Time, keep Keep, folders ...string) (Removed, error) {
	var removed Removed
	release, err := c.alone()
	if err != nil {
		return removed, err
	}
	defer release()
	entries, err := c.lastUsedFirst(folders)
	errs := []error{err}
	var kept int64
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		young := keep.Age > 0 && now.Sub(e.used) < keep.Age
		if young && keep.Bytes == 0 {
			continue
		}
		bytes, err := onDisk(filepath.Join(e.dir, e.name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if kept += bytes; young && kept <= keep.Bytes {
			continue
		}
		if err := discard(e.dir, e.name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed.Entries++
		removed.Bytes += bytes
	}
	return removed, errors.Join(errs...)
}

// entry is something in the cache that Prune may remove.
type entry struct {
	dir, name string
	used      time.Time
}

// lastUsedFirst returns what is in folders, in the order of its last use, and
// what of it could not be read.
func (c *Cache) lastUsedFirst(folders []string) (all []entry, err error) {
	var errs []error
	for _, folder := range folders {
		dir := filepath.Join(c.dir, folder)
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				all = append(all, entry{dir, f.Name(), info.ModTime()})
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.name, b.name)) })
	return all, errors.Join(errs...)
}

// discard removes an entry, which loses its name first: half of a result must
// not be taken for one.
func discard(dir, name string) error {
	gone := filepath.Join(dir, ".old-"+name)
	if err := os.Rename(filepath.Join(dir, name), gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}
