package debian

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"pault.ag/go/debian/version"
)

// Options say what Open reads and from where.
type Options struct {
	Fetcher
	Suite        string   // codename or name of a release, such as trixie
	Components   []string // empty stands for main
	Architecture string   // Debian's name, such as amd64
	// Keyring is the file of the archive's public keys; "" stands for
	// DefaultKeyring.
	Keyring string
	// MaxAge is for how long what a mirror said is not asked for again: with
	// a full cache, Open makes no request then. 0 asks every time.
	MaxAge time.Duration
	// Now is the clock; nil stands for time.Now.
	Now func() time.Time
}

// Archive is the set of packages of one suite and its updates.
type Archive struct {
	packages  []Package
	byName    map[string]int   // the highest version
	providers map[string][]int // of virtual packages, by their names
	arch      string
	warnings  []string
}

// Warnings are what Open got along without: a mirror that did not answer, a
// suite that it does not have. To be shown to the person who builds.
func (a *Archive) Warnings() []string { return a.warnings }

// Len returns the number of packages.
func (a *Archive) Len() int { return len(a.byName) }

// suite is one of those that make up an Archive.
type suite struct {
	name     string
	mirror   string
	optional bool // it is only a warning when the mirror lacks it
}

// Open reads the suite, its -updates, and its -security from the security
// mirror, verified as the package comment says. The highest version of a
// package wins.
func Open(ctx context.Context, o Options) (*Archive, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s, err := openStore(o.Cache)
	if err != nil {
		return nil, err
	}
	keys, err := readKeyring(o.Keyring)
	if err != nil {
		return nil, err
	}
	suites := []suite{
		{name: o.Suite, mirror: o.Mirrors.Archive},
		{name: o.Suite + "-updates", mirror: o.Mirrors.Archive, optional: true},
	}
	if o.Mirrors.Security != "" {
		suites = append(suites, suite{name: o.Suite + "-security", mirror: o.Mirrors.Security, optional: true})
	}
	w := &warnings{}
	t := &tally{report: o.Progress}
	texts := make([][]string, len(suites))
	group, ctx := errgroup.WithContext(ctx)
	for i, from := range suites {
		group.Go(func() (err error) {
			texts[i], err = o.readSuite(ctx, s, from, keys, w, t)
			if err != nil {
				return fmt.Errorf("read suite %s from %s: %w", from.name, redacted(from.mirror), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// Growing these one by one takes longer than all else in a warm Open.
	size := 0
	for _, text := range slices.Concat(texts...) {
		size += strings.Count(text, "\n\n") + 1
	}
	a := &Archive{
		packages:  make([]Package, 0, size),
		byName:    make(map[string]int, size),
		providers: map[string][]int{},
		arch:      o.Architecture,
		warnings:  w.sorted(),
	}
	for i, from := range suites {
		for _, text := range texts[i] {
			if err := parseIndex(text, o.Architecture, a.add); err != nil {
				return nil, fmt.Errorf("read suite %s from %s: %w", from.name, redacted(from.mirror), err)
			}
		}
	}
	a.indexProviders()
	return a, nil
}

func (o *Options) complete() error {
	if !validName(o.Suite) || !validName(o.Architecture) {
		return fmt.Errorf("open archive: %q is no suite or %q is no architecture", o.Suite, o.Architecture)
	}
	if len(o.Components) == 0 {
		o.Components = []string{"main"}
	}
	for _, c := range o.Components {
		if !validName(c) {
			return fmt.Errorf("open archive: %q is no component", c)
		}
	}
	if o.Mirrors.Archive == "" {
		return errors.New("open archive: no mirror given: pass --mirror URL")
	}
	var err error
	if o.Mirrors.Archive, err = mirrorURL(o.Mirrors.Archive); err != nil {
		return err
	}
	if o.Mirrors.Security != "" {
		if o.Mirrors.Security, err = mirrorURL(o.Mirrors.Security); err != nil {
			return err
		}
	}
	if o.Keyring == "" {
		o.Keyring = DefaultKeyring
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// readSuite returns the indexes of one suite, none if the mirror lacks an
// optional one. A mirror in the middle of an update may list an index that it
// does not have any more or does not have yet: what it says is then asked for
// once more.
func (o *Options) readSuite(ctx context.Context, s store, from suite, keys *keyring, w *warnings, t *tally) ([]string, error) {
	for again := false; ; again = true {
		r, err := o.release(ctx, s, from, keys, w, again)
		if err != nil || r == nil {
			return nil, err
		}
		texts := make([]string, len(o.Components))
		for i, component := range o.Components {
			if texts[i], err = o.index(ctx, s, from, r, component, t); err != nil {
				break
			}
		}
		switch {
		case err == nil:
			return texts, nil
		case ctx.Err() != nil || !errors.Is(err, errNotFound) && !errors.Is(err, errWrongContent):
			return nil, err
		case again:
			return nil, fmt.Errorf("%w: the mirror is in the middle of an update or out of order: try again in a few minutes or pass --mirror URL", err)
		}
	}
}

// add takes a package in unless a higher version is there. Of equal versions
// the first stays: that of the release itself.
func (a *Archive) add(p *Package) error {
	old, ok := a.byName[p.Name]
	if !ok {
		a.byName[p.Name] = len(a.packages)
		a.packages = append(a.packages, *p)
		return nil
	}
	if a.packages[old].Version == p.Version {
		return nil
	}
	higher, err := compare(p.Version, a.packages[old].Version)
	if err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if higher > 0 {
		a.packages[old] = *p
	}
	return nil
}

// compare orders versions as Debian Policy 5.6.12 says.
func compare(a, b string) (int, error) {
	va, err := version.Parse(a)
	if err != nil {
		return 0, fmt.Errorf("version %q: %w", a, err)
	}
	vb, err := version.Parse(b)
	if err != nil {
		return 0, fmt.Errorf("version %q: %w", b, err)
	}
	return version.Compare(va, vb), nil
}

type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

func (w *warnings) sorted() []string {
	slices.Sort(w.lines)
	return slices.Compact(w.lines)
}

// releasePath is where a suite's InRelease is cached. Mirrors may differ in
// how far they are, so each has its own.
func (s store) releasePath(from suite) string {
	return filepath.Join(s.dir, "release", shortHash(from.mirror)+"-"+from.name)
}
