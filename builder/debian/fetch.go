package debian

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// parallelDownloads is how many files are fetched at a time: enough to hide
// the latency of small files, few enough for mirrors that count connections.
const parallelDownloads = 4

// Progress is told, one call at a time, how much of a set of files is there:
// bytes done and in all, and the file that brought the last ones.
type Progress func(name string, done, total int64)

// Fetcher gets files from mirrors into the cache.
type Fetcher struct {
	Mirrors Mirrors
	// Cache is the folder of the cache. It is made when it is missing.
	Cache string
	// Client makes the requests; nil stands for a plain one that honours the
	// proxy variables of the environment.
	Client *http.Client
	// IdleTimeout is how long a mirror may be silent; 0 stands for 30 s.
	IdleTimeout time.Duration
	// Progress may be nil.
	Progress Progress
}

// Fetch makes sure that the cache has the .debs of these packages and returns
// their paths by package name. It needs nothing but the records: with those of
// an earlier build it fetches the same bytes again, or fails because the
// mirror has newer versions only. A cached file is trusted by its size here;
// Unpack checks the hash.
func (f *Fetcher) Fetch(ctx context.Context, packages []Package) (map[string]string, error) {
	s, err := openStore(f.Cache)
	if err != nil {
		return nil, err
	}
	s.sweep(time.Now())
	paths := make(map[string]string, len(packages))
	var missing []Package
	var total int64
	for _, p := range packages {
		if err := p.check(); err != nil {
			return nil, err
		}
		path := s.path("deb", p.SHA256+".deb")
		if old, ok := paths[p.Name]; ok && old != path {
			return nil, fmt.Errorf("fetch packages: two different records of %s", p.Name)
		} else if ok {
			continue
		}
		paths[p.Name] = path
		if info, err := os.Stat(path); err == nil && info.Size() == p.Size {
			// When it was used last; a cache on a read-only disk only ages.
			now := time.Now()
			_ = os.Chtimes(path, now, now)
			continue
		}
		missing = append(missing, p)
		total += p.Size
	}
	// The largest first: one that starts last would be waited for alone.
	slices.SortStableFunc(missing, func(a, b Package) int {
		switch {
		case a.Size > b.Size:
			return -1
		case a.Size < b.Size:
			return 1
		}
		return 0
	})
	t := &tally{report: f.Progress, total: total}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDownloads)
	for _, p := range missing {
		group.Go(func() error {
			if err := f.fetchDeb(ctx, s, p, t.of(p.Name)); err != nil {
				return fmt.Errorf("fetch package %s: %w", p, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return paths, nil
}

// fetchDeb tries the mirrors in the order in which they are likely to have
// the package: the security archive's pool begins with updates/.
func (f *Fetcher) fetchDeb(ctx context.Context, s store, p Package, count func(int)) error {
	mirrors := []string{f.Mirrors.Archive, f.Mirrors.Security}
	if strings.HasPrefix(p.Filename, "pool/updates/") {
		slices.Reverse(mirrors)
	}
	var errs []error
	for _, mirror := range mirrors {
		if mirror == "" {
			continue
		}
		err := twice(ctx, func() error {
			return s.temporary(func(file *os.File) error {
				err := f.download(ctx, mirror, p.Filename, content{p.Size, p.SHA256}, file, count)
				if err != nil {
					return err
				}
				return s.keep(file, s.path("deb", p.SHA256+".deb"))
			})
		})
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	switch err := errors.Join(errs...); {
	case err == nil:
		return errors.New("no mirror given: pass --mirror URL")
	case errors.Is(err, errWrongContent):
		return fmt.Errorf("%w: the mirror may be in the middle of an update: try again in a few minutes or pass --mirror URL", err)
	case errors.Is(err, errNotFound):
		return fmt.Errorf("%w: mirrors drop versions that were replaced: build without the old record, or pass --mirror URL of an archive that keeps them", err)
	default:
		return err
	}
}

// twice runs a download again if it failed in a way that may pass: a broken
// connection, or bytes from the middle of a mirror's update.
func twice(ctx context.Context, download func() error) error {
	err := download()
	if err == nil || ctx.Err() != nil || errors.Is(err, errNotFound) || errors.Is(err, errStalled) {
		return err
	}
	return download()
}

// tally adds up the progress of parallel downloads.
type tally struct {
	report      Progress
	mu          sync.Mutex
	done, total int64
}

func (t *tally) of(name string) func(n int) {
	return func(n int) {
		if t.report == nil {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.done = min(t.done+int64(n), t.total) // a second try counts bytes twice
		t.report(name, t.done, t.total)
	}
}

func (t *tally) add(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += bytes
}
