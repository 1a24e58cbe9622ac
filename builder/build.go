// Package builder composes images: it turns a board's description into a disk
// image, a slot image and a kernel image, together called a release.
//
//	board.yaml ─► plan ─► packages ─► programs ─► root tree ─► EROFS ─► verity
//	                                      └► initramfs ─► kernel image ─► disk image, release
//
// Every step but the last two is a function from inputs to files in a
// content-addressed cache, so a step whose inputs did not change is not run again.
// A build needs no root, no loop devices and no mounts, and the same inputs give
// the same bytes on any machine.
package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/debian"
	"github.com/skerry-os/skerry/builder/kernel"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/imageseed"
	"github.com/skerry-os/skerry/release"
	"github.com/skerry-os/skerry/verity"
)

// Result names what a build published.
type Result struct {
	Manifest *release.Manifest
	Files    []string // absolute paths, the disk images first
	Next     []string // what a person does with the image, a line each; nothing where it goes without saying
}

// build is one run of the steps. Each step reads what those before it set.
type build struct {
	Options
	progress *progress.Progress
	cache    *cache.Cache

	// plan
	board    *board.Board // with what the overlays add
	overlays []*board.Overlay
	images   []*board.ContainerImage
	commit   commit
	config   []byte // the node config that goes to partition boot

	// packages
	packages      []debian.Package
	kernelPackage string            // name of the one with the kernel
	unpacked      map[string]string // folders by package name

	// programs
	agent    string       // the compiled agent
	compiled []artifact   // the board's Go programs, in its order
	inImages [][]artifact // those of the container images
	kernel   *kernel.Package
	modules  *kernel.Modules

	// container images
	users   []*containerimage.Archive
	carried imageseed.Index // all, once the root is put together

	// artifacts; each is a file in the cache with what it depends on
	erofsVersion string
	slot         artifact
	verity       verity.Params
	initramfs    artifact
	uki          artifact

	// the release
	stage   *stage
	disk    diskImage
	formats []artifact // the disk image in each of Formats
}

// artifact is a file made by a step. Key stands for its contents wherever a
// later step depends on them.
type artifact struct {
	Path string
	Key  string
}

// keep is what builds leave of the results in the cache. A board's root with
// the cluster takes 0.4 GB of it, and what all boards share 0.5 GB.
var keep = cache.Keep{Age: 14 * 24 * time.Hour, Bytes: 10e9}

// tidyTime bounds how long a build that is over tidies the cache.
const tidyTime = 10 * time.Second

// Build makes a release of the options' board and publishes it into the output
// folder. An error or a cancelled context leaves nothing there.
func Build(ctx context.Context, o Options, p *progress.Progress) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &build{Options: o, progress: p}
	if len(b.Formats) == 0 {
		b.Formats = []string{"img"}
	}
	if b.Output == "" {
		b.Output = "."
	}
	closeCache, err := b.openCache(ctx)
	if err != nil {
		return nil, err
	}
	defer closeCache()
	// The plan says which programs there are to compile; what is wrong with files of
	// the user's is said before anything takes long.
	if err := p.Run(ctx, append([]progress.Task{{Name: "plan", Run: b.plan}}, b.archiveTasks()...)); err != nil {
		return nil, err
	}
	ahead, stop := fingerprintAhead(ctx)
	defer stop()
	defer func() {
		if b.stage != nil {
			b.stage.close()
		}
	}()
	var result *Result
	err = p.Run(ctx, slices.Concat([]progress.Task{
		{Name: "packages", Run: b.fetchPackages},
		{Name: "unpack", Run: b.unpackPackages},
		b.compileAgent(ahead),
	}, b.compileTasks(ahead), []progress.Task{
		{Name: "modules", Run: b.extractModules},
		{Name: "root", Run: b.makeRoot},
		{Name: "initramfs", Run: b.makeInitramfs},
		{Name: "kernel image", Run: b.makeKernelImage},
		{Name: "disk image", Run: b.makeDisk},
		{Name: "publish", Run: func(ctx context.Context, s *progress.Step) (err error) {
			result, err = b.publish(ctx, s)
			return err
		}},
	}))
	if err != nil {
		return nil, err
	}
	return result, nil
}

// openCache opens the cache and holds it until closeCache is called, which tidies
// it: after a build that failed, too.
func (b *build) openCache(ctx context.Context) (closeCache func(), err error) {
	dir, err := cacheDir(b.Cache)
	if err != nil {
		return nil, err
	}
	if b.cache, err = cache.Open(dir); err != nil {
		return nil, err
	}
	release, err := b.cache.Use(ctx)
	if err != nil {
		return nil, err
	}
	return func() {
		release()
		b.tidyCache(ctx)
	}, nil
}

// tidyCache removes results that no build has used for long, and of the others
// those used first where they take more room than is due to them.
func (b *build) tidyCache(ctx context.Context) {
	if ctx.Err() != nil {
		return // nobody waits for that
	}
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	if _, err := b.cache.PruneNowAndThen(ctx, time.Now(), keep, cache.Steps); err != nil && !errors.Is(err, cache.ErrInUse) {
		b.progress.Warn("the cache could not be tidied: %v", err)
	}
}

// file runs a step of the cache that makes one file of the given name.
func (b *build) file(ctx context.Context, shown *progress.Step, name string, key *cache.Key, fill func(path string) error) (artifact, error) {
	dir, hit, err := b.cache.Step(ctx, name, key, func(dir string) error {
		return fill(filepath.Join(dir, name))
	})
	if err != nil {
		return artifact{}, err
	}
	if hit {
		shown.Cached()
	}
	return artifact{Path: filepath.Join(dir, name), Key: key.String()}, nil
}

// size returns the length of a file for messages; 0 if it cannot be read.
func size(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}
