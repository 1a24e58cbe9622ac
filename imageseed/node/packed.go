package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

// namesOfPacked returns the names of a packed image's records: as a pull by the
// CRI plugin makes them.
func namesOfPacked(image *imageseed.Packed) []string {
	return []string{image.Config.String(), image.Reference, image.ByDigest()}
}

// packed makes a packed image known by names.
func (a *application) packed(ctx context.Context, image *imageseed.Packed, names []string) error {
	ours := map[digest.Digest]bool{}
	for _, b := range image.Blobs {
		ours[b.Digest] = true
	}
	if err := a.graph(ctx, image.Descriptor(), ours); err != nil {
		return err
	}
	return a.records(ctx, image.Reference, names, image.Descriptor())
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

// Unpack unpacks the packed images of the seed, which Apply made known, and
// returns how many were not unpacked before. What is committed is on the disk: an
// image with empty files would stay that. A container that is made meanwhile has
// the CRI plugin unpack its image as well, which has little time for it.
func Unpack(ctx context.Context, client *containerd.Client, seed *imageseed.Seed) (unpacked int, err error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	var errs []error
	for i := range seed.Packed() {
		known, err := unpack(ctx, client, seed.Packed()[i].Reference)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("unpack container image %s: %w", seed.Packed()[i].Reference, err))
		case !known:
			unpacked++
		}
	}
	return unpacked, errors.Join(errs...)
}

// unpack unpacks an image if it was not, and tells whether it was.
func unpack(ctx context.Context, client *containerd.Client, name string) (was bool, err error) {
	image, err := client.GetImage(ctx, name)
	if err != nil {
		return false, err
	}
	if was, err := image.IsUnpacked(ctx, snapshotter); was || err != nil {
		return was, err
	}
	return false, image.Unpack(ctx, snapshotter, containerd.WithUnpackApplyOpts(diff.WithSyncFs(true)))
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
