package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/debian"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

// indexAge is for how long what the mirror said is not asked for again, so
// that a build after a small change waits for no network.
const indexAge = 6 * time.Hour

// plan reads what is to be built and refuses what cannot be.
func (b *build) plan(ctx context.Context, shown *progress.Step) error {
	source := os.DirFS(b.Source)
	var err error
	if b.board, err = board.Load(source, b.Board); err != nil {
		return err
	}
	for _, name := range b.Overlays {
		if slices.Contains(b.board.Overlays, name) {
			return fmt.Errorf("overlay %s is in every image for board %s: leave out --overlay %s", name, b.board.Name, name)
		}
	}
	for _, name := range b.Without {
		if !slices.Contains(b.board.Overlays, name) {
			return fmt.Errorf("overlay %s is not in images for board %s, which have %s: leave out --without %s",
				name, b.board.Name, strings.Join(b.board.Overlays, ", "), name)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(b.board.Overlays), func(name string) bool { return slices.Contains(b.Without, name) })
	for _, name := range slices.Concat(kept, b.Overlays) {
		overlay, err := board.LoadOverlay(source, name)
		if err != nil {
			return err
		}
		b.overlays = append(b.overlays, overlay)
	}
	b.board = b.board.With(b.overlays)
	if err := b.planImages(); err != nil {
		return err
	}
	if b.Options.Config != "" {
		if b.config, err = readConfig(b.Options.Config); err != nil {
			return err
		}
	}
	if err := b.planVersion(ctx); err != nil {
		return err
	}
	shown.Detail("release %s for %s", b.Version, b.board.Name)
	return nil
}

// planImages reads the container images that the board names.
func (b *build) planImages() error {
	if len(b.Archives) > 0 && len(b.board.Images) == 0 {
		return errors.New("the image is to have container images and nothing that runs them: build with the cluster, or without --images")
	}
	for _, name := range b.board.Images {
		image, err := board.LoadContainerImage(os.DirFS(b.Source), name)
		if err != nil {
			return err
		}
		b.images = append(b.images, image)
	}
	return nil
}

// planVersion finds out the version, which is git's if none was asked for.
func (b *build) planVersion(ctx context.Context) (err error) {
	if b.commit, err = readCommit(ctx, b.Source); err != nil {
		return err
	}
	if b.Version == "" {
		b.Version = b.commit.Version
	}
	if b.Version == "" {
		return errors.New("the version is unknown: build from a git checkout, or pass --version")
	}
	_, err = release.ParseVersion(b.Version)
	return err
}

// fetchPackages brings the board's packages into the cache: those that the
// mirror has now, or exactly those of an earlier build.
func (b *build) fetchPackages(ctx context.Context, shown *progress.Step) error {
	mirrors, err := b.mirrors()
	if err != nil {
		return err
	}
	dir, err := b.cache.Sub(debianFolder)
	if err != nil {
		return err
	}
	fetcher := debian.Fetcher{Mirrors: mirrors, Cache: dir,
		Progress: func(_ string, done, total int64) { shown.Bytes(done, total) }}
	if b.Locked != "" {
		b.packages, b.kernelPackage, err = lockedPackages(b.Locked, b.board)
	} else {
		b.packages, b.kernelPackage, err = b.resolve(ctx, fetcher)
	}
	if err != nil {
		return err
	}
	debs, err := fetcher.Fetch(ctx, b.packages)
	if err != nil {
		return err
	}
	var bytes int64
	for _, p := range b.packages {
		bytes += p.Size
	}
	b.unpacked = debs
	shown.Detail("%d packages, %s", len(b.packages), progress.Size(bytes))
	return nil
}

func (b *build) mirrors() (debian.Mirrors, error) {
	if b.Mirror != "" {
		return debian.MirrorsAt(b.Mirror)
	}
	mirrors, err := debian.HostMirrors(os.DirFS("/"))
	if err != nil {
		return mirrors, fmt.Errorf("%w: pass --mirror with the address of a Debian mirror", err)
	}
	return mirrors, nil
}

// kernelPrefix is what the names of packages with a kernel begin with.
const kernelPrefix = "linux-image-"

// resolve returns the packages of the board that the mirror has now, and the
// name of the one with the kernel, if the board has a kernel.
func (b *build) resolve(ctx context.Context, fetcher debian.Fetcher) (packages []debian.Package, kernel string, err error) {
	age := indexAge
	if b.Refresh {
		age = 0
	}
	archive, err := debian.Open(ctx, debian.Options{
		Fetcher:      fetcher,
		Suite:        b.board.Debian.Suite,
		Components:   b.board.Debian.Components,
		Architecture: b.board.Architecture,
		MaxAge:       age,
	})
	if err != nil {
		return nil, "", err
	}
	for _, warning := range archive.Warnings() {
		b.progress.Warn("%s", warning)
	}
	var requests []debian.Request
	if b.board.Kernel.Package != "" {
		image, err := archive.DependencyOf(b.board.Kernel.Package, kernelPrefix)
		if err != nil {
			return nil, "", err
		}
		kernel = image.Name
		requests = append(requests, debian.Request{Name: kernel, Alone: true})
	}
	for _, name := range namedPackages(b.board) {
		requests = append(requests, debian.Request{Name: name, Alone: !isProgram(b.board, name)})
	}
	for _, name := range sysrootPackages(b.board) {
		requests = append(requests, debian.Request{Name: name, Alone: true})
	}
	packages, err = archive.Resolve(requests)
	return packages, kernel, err
}

// unpackPackages extracts every package into a folder of the cache of its own.
func (b *build) unpackPackages(ctx context.Context, shown *progress.Step) error {
	fresh := 0
	debs := b.unpacked
	b.unpacked = map[string]string{}
	for _, p := range b.packages {
		dir, hit, err := b.cache.Step(ctx, "package", cache.NewKey("package", 1).Add("sha256", p.SHA256), func(dir string) error {
			return p.Unpack(ctx, debs[p.Name], dir, wanted)
		})
		if err != nil {
			return err
		}
		if !hit {
			fresh++
		}
		b.unpacked[p.Name] = dir
	}
	if fresh == 0 {
		shown.Cached()
	} else {
		shown.Detail("%d packages", fresh)
	}
	return nil
}

// wanted leaves out what no image gets.
func wanted(path string) bool {
	for _, prefix := range []string{"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/"} {
		if strings.HasPrefix(path, prefix) {
			return strings.HasSuffix(path, "/copyright")
		}
	}
	return true
}

// folderOf returns the folder of an unpacked package.
func (b *build) folderOf(pkg string) (string, error) {
	dir, ok := b.unpacked[pkg]
	if !ok {
		return "", fmt.Errorf("package %s is not among those of this build", pkg)
	}
	return dir, nil
}

// readFile reads a file of an unpacked package.
func (b *build) readFile(pkg, name string) ([]byte, error) {
	dir, err := b.folderOf(pkg)
	if err != nil {
		return nil, err
	}
	contents, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "/"))))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("package %s has no file %s", pkg, name)
	}
	return contents, err
}
