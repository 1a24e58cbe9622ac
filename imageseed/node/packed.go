package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

// namesOfPacked returns the names of a packed image's records: as a pull by the
// CRI plugin makes them.
func namesOfPacked(image *imageseed.Packed) []string {
	return []string{image.Config.String(), image.Reference, image.ByDigest()}
}

// packed makes a packed image known. Its layers are unpacked by the CRI plugin
// when the first container is made of it, as those of any image that was not.
func (a *application) packed(ctx context.Context, image *imageseed.Packed) error {
	ours := map[digest.Digest]bool{}
	for _, b := range image.Blobs {
		ours[b.Digest] = true
	}
	if err := a.graph(ctx, image.Descriptor(), ours); err != nil {
		return err
	}
	return a.records(ctx, image.Reference, namesOfPacked(image), image.Descriptor())
}

// graph makes a blob visible, and before it what it refers to and the image has:
// of an index, that is one manifest.
func (a *application) graph(ctx context.Context, desc ocispec.Descriptor, ours map[digest.Digest]bool) error {
	children, err := images.Children(ctx, provider{a.seed}, desc)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for i, child := range children {
		if !ours[child.Digest] {
			continue
		}
		if err := a.graph(ctx, child, ours); err != nil {
			return err
		}
		for _, label := range images.ChildGCLabels(child) {
			if strings.HasSuffix(label, ".") { // one of several
				label += fmt.Sprint(i)
			}
			labels[label] = child.Digest.String()
		}
	}
	if err := a.blob(ctx, desc, labels); err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	return nil
}

// provider reads the blobs of a seed (content.Provider).
type provider struct{ seed *imageseed.Seed }

func (p provider) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	contents, size, err := p.seed.ReaderAt(desc.Digest)
	if err != nil {
		return nil, err
	}
	return readerAt{contents, size}, nil
}
