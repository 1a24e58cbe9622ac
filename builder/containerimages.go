package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
	"github.com/skerry-os/skerry/release"
)

// archiveTasks is the step that takes the user's container images out of their
// archives, if there are any.
func (b *build) archiveTasks() []progress.Task {
	if len(b.Archives) == 0 {
		return nil
	}
	return []progress.Task{{Name: "container images", Run: func(ctx context.Context, shown *progress.Step) error {
		from := map[string]string{} // where an image was found
		for _, image := range b.images {
			from[image.Reference] = "the board's overlays"
		}
		all := imageseed.Index{}
		cached := true
		for _, name := range b.Archives {
			a, hit, err := b.unpackArchive(ctx, name)
			if err != nil {
				return err
			}
			for _, image := range a.Images {
				if other, ok := from[image.Reference]; ok {
					return fmt.Errorf("container image %s is in %s and in %s: keep one", image.Reference, other, name)
				}
				from[image.Reference] = name
			}
			cached = cached && hit
			all.Packed = append(all.Packed, a.Images...)
			b.users = append(b.users, a)
		}
		if _, err := all.Encode(); err != nil { // its limits
			return err
		}
		bytes := all.PackedBytes()
		if slot := b.board.Disk.Slot.Bytes(); bytes > slot {
			return fmt.Errorf("they have %s and a slot of board %s %s: leave some out", progress.Size(bytes), b.board.Name, progress.Size(slot))
		}
		if cached {
			shown.Cached()
		}
		shown.Detail("%d, %s", len(all.Packed), progress.Size(bytes))
		return nil
	}}}
}

// unpackArchive takes the images out of one archive.
func (b *build) unpackArchive(ctx context.Context, name string) (a *containerimage.Archive, hit bool, err error) {
	before, err := os.Stat(name)
	if err != nil {
		return nil, false, err
	}
	sum, err := containerimage.Digest(ctx, name)
	if err != nil {
		return nil, false, err
	}
	made, err := libraries(libraryImages)
	if err != nil {
		return nil, false, err
	}
	key := cache.NewKey("container-images", 1).Add("archive", sum).Add("architecture", b.board.Architecture).Add("libraries", made)
	dir, hit, err := b.cache.Step(ctx, "container-images", key, func(dir string) error {
		a, err := containerimage.Unpack(ctx, name, dir, b.board.Architecture)
		if err != nil {
			return err
		}
		if after, err := os.Stat(name); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
			return errors.Join(fmt.Errorf("%s changed while it was read: is somebody still writing it?", name), err)
		}
		return a.Save()
	})
	if err != nil {
		return nil, false, err
	}
	a, err = containerimage.Load(dir)
	return a, hit, err
}

// addContainerImages adds the container images and their index: those of the
// board unpacked, the user's as they are.
func (b *build) addContainerImages(root *tree.Tree) error {
	if len(b.images)+len(b.users) == 0 {
		return nil
	}
	index := &b.carried
	for _, a := range b.users {
		index.Packed = append(index.Packed, a.Images...)
		if err := a.Place(root); err != nil {
			return err
		}
	}
	for i, image := range b.images {
		files := tree.New()
		if err := addOverlay(files, filepath.Join(b.Source, "images", image.Name, "root")); err != nil {
			return fmt.Errorf("container image %s: %w", image.Name, err)
		}
		for j, program := range image.Go {
			if err := files.AddSource(program.File, 0o755, b.inImages[i][j].Path); err != nil {
				return fmt.Errorf("container image %s: %w", image.Name, err)
			}
		}
		entries, err := containerimage.Entries(files)
		if err != nil {
			return fmt.Errorf("container image %s: %w", image.Name, err)
		}
		made, err := imageseed.Compose(image.Reference, b.board.Architecture,
			ocispec.ImageConfig{User: image.User, Entrypoint: image.Entrypoint}, entries)
		if err != nil {
			return fmt.Errorf("container image %s: %w", image.Name, err)
		}
		index.Images = append(index.Images, *made)
		if err := containerimage.Place(root, made, files); err != nil {
			return fmt.Errorf("container image %s: %w", image.Name, err)
		}
	}
	text, err := index.Encode()
	if err != nil {
		return err
	}
	return root.AddBytes(path.Join(imageseed.Folder, imageseed.IndexName), 0o644, text)
}

// carriedImages returns what the release's manifest says of the container images
// in the root.
func (b *build) carriedImages() (list []release.Image, err error) {
	add := func(reference string, d digest.Digest) {
		sum, wrong := release.ParseDigest(d.Encoded())
		err = errors.Join(err, wrong)
		list = append(list, release.Image{Reference: reference, SHA256: sum})
	}
	for _, image := range b.carried.Images {
		add(image.Reference, image.ManifestDigest())
	}
	for _, image := range b.carried.Packed {
		add(image.Reference, image.Target.Digest)
	}
	return list, err
}
