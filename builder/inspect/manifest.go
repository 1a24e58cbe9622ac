package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

// checkManifest compares the image with the release's manifest, if one lies
// beside it, and the manifest with the files that lie there too.
func (i *inspection) checkManifest(ctx context.Context, shown *progress.Step) error {
	dir, base := filepath.Split(i.Image)
	name := strings.TrimSuffix(base, filepath.Ext(base)) + ".manifest.json"
	contents, err := readFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		shown.Detail("none")
		return nil
	}
	if err != nil {
		return err
	}
	i.Manifest = name
	m, err := release.ParseManifest(name, contents)
	if err != nil {
		i.find(name, "It cannot be read: %v.", err)
		return nil
	}
	i.compareManifest(name, m)
	for _, a := range m.Artifacts {
		if err := i.checkArtifact(ctx, dir, name, a); err != nil {
			return err
		}
	}
	shown.Detail("%s", name)
	return nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, release.MaxManifest+1))
}

// compareManifest compares it with what the image starts by default.
func (i *inspection) compareManifest(name string, m *release.Manifest) {
	differ := func(what, is, want string) {
		if is != want {
			i.find(name, "It says that the %s is %s, and the image has %s.", what, want, is)
		}
	}
	for _, r := range i.Releases {
		if !r.Default {
			continue
		}
		differ("version", r.Version, string(m.Version))
		differ("board", r.Board, m.Board)
		differ("architecture", r.Architecture, m.Architecture)
		differ("kernel", r.Kernel, m.Kernel)
		if a, err := m.Artifact(release.KindUKI); err == nil {
			differ("SHA-256 of the kernel image", r.SHA256, a.SHA256.String())
		}
		if r.Slot == nil {
			continue
		}
		differ("hash tree", r.params.String(), m.Verity)
		if a, err := m.Artifact(release.KindSlot); err == nil {
			differ("size of the slot image", fmt.Sprint(r.Slot.Size), fmt.Sprint(a.Size))
			differ("SHA-256 of the slot image", r.Slot.SHA256, a.SHA256.String())
		}
	}
}

// checkArtifact compares one file with what the manifest says of it. Files
// that are not there were not copied along.
func (i *inspection) checkArtifact(ctx context.Context, dir, manifest string, a release.Artifact) error {
	name := filepath.Join(dir, a.Name)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() != a.Size {
		i.find(a.Name, "It has %d bytes, and %s says %d.", info.Size(), manifest, a.Size)
		return nil
	}
	sum, err := disk.Digest(ctx, name)
	if err != nil {
		return err
	}
	if digest := release.Digest(sum); digest != a.SHA256 {
		i.find(a.Name, "It has the SHA-256 %s, and %s says %s: it was changed, or not copied completely.", digest, manifest, a.SHA256)
	}
	return nil
}
