package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/gobuild"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

// publish writes the release's files into the output folder: first into a
// stage, and each under its name once all are complete.
func (b *build) publish(ctx context.Context, shown *progress.Step) (*Result, error) {
	stage := b.stage
	manifest, err := b.manifest(ctx)
	if err != nil {
		return nil, err
	}
	base := "skerry-" + b.Version + "-" + b.board.Name
	names, err := b.stageArtifacts(ctx, base, manifest)
	if err != nil {
		return nil, err
	}
	// From the reading of the former checksums to the writing of the new ones.
	unlock, err := lockFolder(ctx, stage.output)
	if err != nil {
		return nil, err
	}
	defer unlock()
	documents, err := documentsOf(base, stage.output, manifest)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		if err := os.WriteFile(filepath.Join(stage.dir, d.name), d.contents, 0o644); err != nil {
			return nil, err
		}
		names = append(names, d.name)
	}
	result := &Result{Manifest: manifest}
	for _, name := range names {
		if err := os.Chmod(filepath.Join(stage.dir, name), 0o644); err != nil {
			return nil, err
		}
		result.Files = append(result.Files, filepath.Join(stage.output, name))
	}
	for _, line := range b.board.Next {
		result.Next = append(result.Next, strings.ReplaceAll(line, "{image}", result.Files[0]))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := stage.publish(names); err != nil {
		return nil, err
	}
	shown.Detail("%d files in %s", len(names), stage.output)
	return result, nil
}

// stageArtifacts puts the release's artifacts into the stage and into the
// manifest, and returns their names.
func (b *build) stageArtifacts(ctx context.Context, base string, manifest *release.Manifest) ([]string, error) {
	var names []string
	var from []artifact
	add := func(kind release.Kind, ending string, made artifact) {
		names, from = append(names, base+ending), append(from, made)
		manifest.Artifacts = append(manifest.Artifacts, release.Artifact{Name: base + ending, Kind: kind, Size: size(made.Path)})
	}
	for i, format := range b.Formats {
		add(release.KindImage, "."+format, b.formats[i])
	}
	add(release.KindSlot, ".slot", b.slot)
	if b.uki.Path != "" {
		add(release.KindUKI, ".efi", b.uki)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := range manifest.Artifacts {
		a := &manifest.Artifacts[i]
		group.Go(func() (err error) {
			name := filepath.Join(b.stage.dir, a.Name)
			if from[i].Path == b.disk.path {
				err = os.Rename(from[i].Path, name)
			} else {
				err = disk.Copy(ctx, name, from[i].Path)
			}
			if err == nil {
				a.SHA256, err = b.digest(ctx, from[i], name)
			}
			return err
		})
	}
	return names, group.Wait()
}

// document is a file of the release that is written by hand.
type document struct {
	name     string
	contents []byte
}

// documentsOf returns SBOM, manifest and checksums. The checksums come last: a
// build that is killed while its files get their names leaves none that agree
// with half a release.
func documentsOf(base, output string, manifest *release.Manifest) ([]document, error) {
	encoded, err := manifest.Encode()
	if err != nil {
		return nil, err
	}
	bill, err := sbom(manifest)
	if err != nil {
		return nil, err
	}
	documents := []document{{base + ".spdx.json", bill}, {base + ".manifest.json", encoded}}
	sums, err := readSums(filepath.Join(output, sumsName))
	if err != nil {
		return nil, err
	}
	for _, a := range manifest.Artifacts {
		sums[a.Name] = a.SHA256.String()
	}
	for _, d := range documents {
		sums[d.name] = digestOf(d.contents)
	}
	return append(documents, document{sumsName, encodeSums(sums)}), nil
}

// encodeSums writes checksums as sha256sum(1) reads them.
func encodeSums(sums map[string]string) []byte {
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&text, "%s  %s\n", sums[name], name)
	}
	return text.Bytes()
}

// sumsName is the file with the checksums of all releases in a folder, as
// sha256sum(1) reads it.
const sumsName = "SHA256SUMS"

// readSums returns the checksums that a folder has already, of files that are
// still there.
func readSums(name string) (map[string]string, error) {
	sums := map[string]string{}
	contents, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return sums, nil
	}
	for line := range strings.Lines(string(contents)) {
		sum, file, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if _, err := os.Stat(filepath.Join(filepath.Dir(name), file)); ok && err == nil {
			sums[file] = sum
		}
	}
	return sums, err
}

// manifest records what this build uses.
func (b *build) manifest(ctx context.Context) (*release.Manifest, error) {
	goVersion, err := (gobuild.Program{Source: b.Source}).Version(ctx)
	if err != nil {
		return nil, err
	}
	modules, err := b.goModules()
	if err != nil {
		return nil, err
	}
	m := &release.Manifest{
		Version:      release.Version(b.Version),
		Board:        b.board.Name,
		Architecture: b.board.Architecture,
		Commit:       b.commit.Hash,
		Time:         b.commit.Time,
		Kernel:       b.kernel.Release,
		Verity:       b.verity.String(),
		Tools:        []release.Tool{{Name: "go", Version: goVersion}, {Name: "mkfs.erofs", Version: b.erofsVersion}},
	}
	if m.Images, err = b.carriedImages(); err != nil {
		return nil, err
	}
	for _, overlay := range b.overlays {
		m.Overlays = append(m.Overlays, overlay.Name)
	}
	for _, module := range modules {
		m.Modules = append(m.Modules, release.Module(module))
	}
	// Both are the same JSON.
	text, err := json.Marshal(b.packages)
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(text, &m.Packages)
}

// digest returns the SHA-256 of an artifact, whose bytes are in the file name. It
// is a step of its own: reading a disk image takes longer than all else in a build
// where nothing changed. The step has the artifact's ending: those of one name
// wait for each other.
func (b *build) digest(ctx context.Context, a artifact, name string) (release.Digest, error) {
	dir, _, err := b.cache.Step(ctx, "sha256"+filepath.Ext(a.Path), cache.NewKey("sha256", 1).Add(filepath.Base(a.Path), a.Key), func(dir string) error {
		sum, err := disk.Digest(ctx, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "sum"), []byte(release.Digest(sum).String()), 0o644)
	})
	if err != nil {
		return release.Digest{}, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "sum"))
	if err != nil {
		return release.Digest{}, err
	}
	return release.ParseDigest(string(text))
}

func digestOf(contents []byte) string {
	sum := sha256.Sum256(contents)
	return hex.EncodeToString(sum[:])
}
