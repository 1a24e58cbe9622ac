package cache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Removed says what became of the space.
type Removed struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // on disk
}

// Keep is what Prune leaves of the folders it is told. The zero value keeps
// nothing.
type Keep struct {
	Age   time.Duration // what was used within it
	Bytes int64         // of that what was used last, until it takes so much on disk; 0 is no limit
}

const (
	// pruned is a file whose time is that of the last run.
	pruned = ".pruned"
	// nowAndThen is how often builds prune: to add up what is there takes some tenths
	// of a second.
	nowAndThen = time.Hour
)

// PruneNowAndThen does what Prune does, unless it did lately. A cache that cannot
// be written to is left alone.
func (c *Cache) PruneNowAndThen(ctx context.Context, now time.Time, keep Keep, folders ...string) (Removed, error) {
	mark := filepath.Join(c.dir, pruned)
	if info, err := os.Stat(mark); err == nil && now.Sub(info.ModTime()).Abs() < nowAndThen {
		return Removed{}, nil
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return Removed{}, nil
		}
		return Removed{}, err
	}
	removed, err := c.Prune(ctx, now, keep, folders...)
	if errors.Is(err, ErrInUse) {
		err = errors.Join(err, os.Remove(mark))
	}
	return removed, err
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
	full := false
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		young := keep.Age > 0 && now.Sub(e.used) < keep.Age && !e.unfinished()
		if young && keep.Bytes == 0 {
			continue
		}
		bytes, err := onDisk(filepath.Join(e.dir, e.name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if young {
			// From the first that does not fit on, all have to go.
			if full = full || kept+bytes > keep.Bytes; !full {
				kept += bytes
				continue
			}
		}
		if err := e.discard(); err != nil {
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

// unfinished says that nobody uses it: a result that was being made, or removed,
// when something killed that.
func (e entry) unfinished() bool { return strings.HasPrefix(e.name, ".") }

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
func (e entry) discard() error {
	path := filepath.Join(e.dir, e.name)
	if !e.unfinished() {
		gone := filepath.Join(e.dir, ".old-"+e.name)
		if err := os.RemoveAll(gone); err != nil {
			return err
		}
		if err := os.Rename(path, gone); err != nil {
			return err
		}
		path = gone
	}
	return os.RemoveAll(path)
}
