package builder

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/gobuild"
	"github.com/skerry-os/skerry/builder/hosttool"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/release"
)

// DistOptions say what distribution to make. Zero values are completed by Dist.
type DistOptions struct {
	Architecture string // as Go and Debian name it
	Version      string // from git if empty
	Output       string // folder for the file
	Release      bool   // compress as small as it gets, for publishing
	Mirror       string // Debian mirror; from apt's sources if empty
	Refresh      bool   // ask the mirror again even if it was asked lately
	Source       string // root folder of the repository
	Cache        string // folder of the cache; the user's if empty
}

// Distribution is what Dist made.
type Distribution struct {
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	File         string `json:"file"` // absolute path
	Bytes        int64  `json:"bytes"`
	SHA256       string `json:"sha256"`
	Unpacked     int64  `json:"unpackedBytes"`
}

// distOverlay has the programs and container images of a distribution.
const distOverlay = "cluster"

// distBoards are the boards whose Debian release has the headers and libraries
// that C of an architecture is compiled with.
var distBoards = map[string]string{"amd64": "x86_64", "arm64": "arm64"}

// DistArchitectures are those that a distribution can be made for.
var DistArchitectures = slices.Sorted(maps.Keys(distBoards))

// MaxDistBytes is what a distribution may have that is published: people fetch it
// over lines that are slow and paid for.
const MaxDistBytes = 60_000_000

// dist is one run of the steps.
type dist struct {
	build
	launcher artifact
	files    *tree.Tree
	manifest *distribution.Manifest
	archive  artifact // compressed
	file     artifact
}

// Dist makes the download of the single binary: a file that installs itself on
// a machine with systemd (package distribution). The same sources and packages
// give the same bytes.
func Dist(ctx context.Context, o DistOptions, p *progress.Progress) (*Distribution, error) {
	if _, ok := distBoards[o.Architecture]; !ok {
		return nil, fmt.Errorf("architecture %q: there are %s", o.Architecture, strings.Join(DistArchitectures, ", "))
	}
	d := &dist{build: build{progress: p, Options: Options{
		Version: o.Version, Output: o.Output, Release: o.Release, Mirror: o.Mirror, Refresh: o.Refresh, Source: o.Source, Cache: o.Cache,
	}}}
	if d.Output == "" {
		d.Output = "."
	}
	closeCache, err := d.openCache(ctx)
	if err != nil {
		return nil, err
	}
	defer closeCache()
	err = p.Run(ctx, []progress.Task{{Name: "plan", Run: func(ctx context.Context, shown *progress.Step) error {
		return d.plan(ctx, shown, o.Architecture)
	}}})
	if err != nil {
		return nil, err
	}
	ahead, stop := fingerprintAhead(ctx)
	defer stop()
	var result *Distribution
	err = p.Run(ctx, slices.Concat([]progress.Task{
		{Name: "packages", Run: d.fetchPackages},
		{Name: "unpack", Run: d.unpackPackages},
		{Name: "launcher", Run: d.compileLauncher},
	}, d.compileTasks(ahead), []progress.Task{
		{Name: "archive", Run: d.makeArchive},
		{Name: "assemble", Run: d.assemble},
		{Name: "publish", Run: func(ctx context.Context, shown *progress.Step) (err error) {
			result, err = d.publish(ctx, shown)
			return err
		}},
	}))
	if err != nil {
		return nil, err
	}
	return result, nil
}

// plan describes a machine that has nothing but the overlay's programs. Programs
// of packages are left out: the machine has its own.
func (d *dist) plan(ctx context.Context, shown *progress.Step, architecture string) error {
	source := os.DirFS(d.Source)
	like, err := board.Load(source, distBoards[architecture])
	if err != nil {
		return err
	}
	overlay, err := board.LoadOverlay(source, distOverlay)
	if err != nil {
		return err
	}
	d.board = (&board.Board{Name: "linux-" + architecture, Architecture: architecture, Debian: like.Debian}).With([]*board.Overlay{overlay})
	d.board.Programs = nil
	if err := d.planImages(); err != nil {
		return err
	}
	if err := d.planVersion(ctx); err != nil {
		return err
	}
	shown.Detail("distribution %s for %s", d.Version, d.board.Name)
	return nil
}

func (d *dist) compileLauncher(ctx context.Context, shown *progress.Step) (err error) {
	d.launcher, err = d.compile(ctx, shown, "launcher", d.forBoard(gobuild.Program{Package: "./cmd/launcher"}), nil)
	return err
}

// folders are those of an image whose files a distribution has, without them.
var folders = []string{"usr/bin/", "usr/lib/skerry/"}

// collect puts together what the archive has.
func (d *dist) collect() error {
	root := tree.New()
	for i, program := range d.board.Go {
		if err := root.AddSource(program.File, 0o755, d.compiled[i].Path); err != nil {
			return err
		}
	}
	if err := d.addContainerImages(root); err != nil {
		return err
	}
	d.files = tree.New()
	for _, p := range root.Paths() {
		for _, folder := range folders {
			if rest, below := strings.CutPrefix(p, folder); below {
				file, _ := root.Get(p)
				if err := d.files.Add(rest, file); err != nil {
					return err
				}
			}
		}
	}
	d.manifest = &distribution.Manifest{Version: release.Version(d.Version), Architecture: d.board.Architecture}
	for _, p := range d.files.Paths() {
		file, _ := d.files.Get(p)
		entry := distribution.Entry{Path: p, Mode: file.Mode, Target: file.Target}
		if file.Mode.IsRegular() {
			var err error
			if entry.Size, err = file.Size(); err != nil {
				return err
			}
			if entry.SHA256, err = file.Digest(); err != nil {
				return err
			}
		}
		d.manifest.Entries = append(d.manifest.Entries, entry)
	}
	return nil
}

// compressor returns zstd(1) and its arguments: one thread, so that the number of
// processors has no word in the bytes, and for publishing the highest level, which
// takes minutes and saves a quarter. The window is distribution.MaxWindow.
func (d *dist) compressor() []string {
	level := []string{"-3"}
	if d.Release {
		level = []string{"--ultra", "-22"}
	}
	return slices.Concat([]string{"zstd"}, level, []string{"--long=27", "--single-thread", "--no-check", "--quiet", "--stdout"})
}

// makeArchive makes the compressed archive.
func (d *dist) makeArchive(ctx context.Context, shown *progress.Step) error {
	if err := d.collect(); err != nil {
		return err
	}
	text, err := d.manifest.Encode()
	if err != nil {
		return err
	}
	compressor := d.compressor()
	tool, err := hosttool.Fingerprint(ctx, compressor[0])
	if err != nil {
		return err
	}
	key := cache.NewKey("distribution archive", 1).Add("manifest", string(text)).
		Add("tool", tool).Add("arguments", strings.Join(compressor, " "))
	d.archive, err = d.build.file(ctx, shown, "archive.tar.zst", key, func(path string) error {
		plain := path + ".plain"
		defer os.Remove(plain)
		err := create(plain, func(w io.Writer) error {
			return distribution.WriteArchive(w, d.manifest, func(p string) (io.ReadCloser, error) {
				file, _ := d.files.Get(p)
				return file.Open()
			})
		})
		if err != nil {
			return err
		}
		return create(path, func(w io.Writer) error {
			return hosttool.Run(ctx, w, compressor[0], append(compressor[1:], plain)...)
		})
	})
	if err != nil {
		return err
	}
	shown.Detail("%s of %s", progress.Size(size(d.archive.Path)), progress.Size(d.manifest.Bytes()))
	return nil
}

// assemble puts launcher and archive together.
func (d *dist) assemble(ctx context.Context, shown *progress.Step) error {
	key := cache.NewKey("distribution", 1).Add("launcher", d.launcher.Key).Add("archive", d.archive.Key)
	var err error
	d.file, err = d.build.file(ctx, shown, "distribution", key, func(path string) error {
		launcher, err := os.Open(d.launcher.Path)
		if err != nil {
			return err
		}
		defer launcher.Close()
		archive, err := os.Open(d.archive.Path)
		if err != nil {
			return err
		}
		defer archive.Close()
		return create(path, func(w io.Writer) error { return distribution.Assemble(w, launcher, archive) })
	})
	if bytes := size(d.file.Path); err == nil && d.Release && bytes > MaxDistBytes {
		d.progress.Warn("the distribution has %d bytes, and %d are the most that it should have", bytes, MaxDistBytes)
	}
	return err
}

// publish writes the file and its checksum into the output folder.
func (d *dist) publish(ctx context.Context, shown *progress.Step) (*Distribution, error) {
	stage, err := newStage(ctx, d.Output)
	if err != nil {
		return nil, err
	}
	defer stage.close()
	name := "skerry-" + d.Version + "-" + d.board.Name
	if err := copyProgram(filepath.Join(stage.dir, name), d.file.Path); err != nil {
		return nil, err
	}
	sum, err := d.digest(ctx, d.file, d.file.Path)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFolder(ctx, stage.output)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sums, err := readSums(filepath.Join(stage.output, sumsName))
	if err != nil {
		return nil, err
	}
	sums[name] = sum.String()
	if err := os.WriteFile(filepath.Join(stage.dir, sumsName), encodeSums(sums), 0o644); err != nil {
		return nil, err
	}
	if err := stage.publish([]string{name, sumsName}); err != nil {
		return nil, err
	}
	result := &Distribution{
		Version: d.Version, Architecture: d.board.Architecture, File: filepath.Join(stage.output, name),
		Bytes: size(d.file.Path), SHA256: sum.String(), Unpacked: d.manifest.Bytes(),
	}
	shown.Detail("%s, which unpacks to %s", progress.Size(result.Bytes), progress.Size(result.Unpacked))
	return result, nil
}

// copyProgram copies a file and lets everybody execute the copy.
func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := create(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err }); err != nil {
		return err
	}
	return os.Chmod(to, 0o755)
}
