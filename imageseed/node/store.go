// Package node gives containerd the container images that a node's root carries
// (package imageseed), without writing any of their data.
//
// RegisterContent replaces containerd's content plugin: its store answers for
// the blobs of the seed too. Apply, called once containerd is up, makes the
// images known in namespace k8s.io: their blobs become visible, each layer
// becomes a snapshot that is a symbolic link to the files in the root, and the
// image records are what the CRI plugin makes of an image that was pulled. A
// start on which everything is there already writes nothing.
package node

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

// store is a local content store and the blobs of a seed. What is written goes
// to the local one.
type store struct {
	content.Store
	seed *imageseed.Seed
}

// Store returns local with the blobs of the seed in it. They are always there:
// they cannot be written, and deleting one deletes the local copy at most.
func Store(local content.Store, seed *imageseed.Seed) content.Store {
	return &store{Store: local, seed: seed}
}

// Info describes a blob. Labels are kept by the metadata store above.
func (s *store) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	if info, ok := s.info(d); ok {
		return info, nil
	}
	return s.Store.Info(ctx, d)
}

func (s *store) info(d digest.Digest) (content.Info, bool) {
	size, ok := s.seed.Size(d)
	// As old as the files in a root are.
	return content.Info{Digest: d, Size: size, CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0)}, ok
}

// Update changes the labels of a local blob.
func (s *store) Update(ctx context.Context, info content.Info, fieldpaths ...string) (content.Info, error) {
	if _, ok := s.info(info.Digest); ok {
		return content.Info{}, fmt.Errorf("label %s: it is in the root of this node, which is read-only: %w", info.Digest, errdefs.ErrFailedPrecondition)
	}
	return s.Store.Update(ctx, info, fieldpaths...)
}

// Walk calls fn for every blob once.
func (s *store) Walk(ctx context.Context, fn content.WalkFunc, terms ...string) error {
	filter, err := filters.ParseAll(terms...)
	if err != nil {
		return err
	}
	for _, d := range s.seed.Digests() {
		if info, _ := s.info(d); filter.Match(content.AdaptInfo(info)) {
			if err := fn(info); err != nil {
				return err
			}
		}
	}
	return s.Store.Walk(ctx, func(info content.Info) error {
		if _, ok := s.info(info.Digest); ok {
			return nil
		}
		return fn(info)
	}, terms...)
}

// Delete removes a local blob. The garbage collector calls it for every blob
// that no namespace refers to; of the seed there are always some, before Apply
// and of images that somebody removed.
func (s *store) Delete(ctx context.Context, d digest.Digest) error {
	err := s.Store.Delete(ctx, d)
	if _, ok := s.info(d); ok && errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// ReaderAt reads a blob.
func (s *store) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if !s.has(desc.Digest) {
		return s.Store.ReaderAt(ctx, desc)
	}
	return provider{s.seed}.ReaderAt(ctx, desc)
}

func (s *store) has(d digest.Digest) bool {
	_, ok := s.seed.Size(d)
	return ok
}

// readerAt is a blob of the seed that is being read.
type readerAt struct {
	imageseed.Contents
	size int64
}

func (r readerAt) Size() int64 { return r.size }

// Writer writes a blob, if the seed does not have it.
func (s *store) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if s.has(o.Desc.Digest) {
		return nil, fmt.Errorf("write %s: it is in the root of this node: %w", o.Desc.Digest, errdefs.ErrAlreadyExists)
	}
	return s.Store.Writer(ctx, opts...)
}
