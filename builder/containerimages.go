package builder

import (
	"fmt"
	"path"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

// addContainerImages adds the container images, unpacked, and their index.
func (b *build) addContainerImages(root *tree.Tree) error {
	if len(b.images) == 0 {
		return nil
	}
	index := &imageseed.Index{}
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
