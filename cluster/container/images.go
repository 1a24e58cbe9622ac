package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/imageseed"
	"github.com/skerry-os/skerry/imageseed/node"
)

// imagesDir has the images that the node carries with it, or is "" where there
// are none.
func imagesDir(c *config.Config) (string, error) {
	dir := c.Lib("images")
	_, err := os.Stat(filepath.Join(dir, imageseed.IndexName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return dir, err
}

// Images are those that the node carries with it, for containerd to know.
type Images struct {
	seed   *imageseed.Seed
	client *containerd.Client
}

// SeedImages makes the images that the node carries with it known to
// containerd, which must listen. No data is copied. A node that carries none gets
// nil.
func SeedImages(ctx context.Context, c *config.Config) (*Images, error) {
	dir, err := imagesDir(c)
	if err != nil || dir == "" {
		return nil, err
	}
	i := &Images{}
	if i.seed, err = imageseed.Open(dir); err != nil {
		return nil, err
	}
	if i.client, err = containerd.New(Socket(c), containerd.WithTimeout(time.Minute)); err != nil {
		return nil, fmt.Errorf("containerd: %w", err)
	}
	began := time.Now()
	changes, err := node.Apply(ctx, i.client, i.seed)
	slog.Info("images", "added", changes.Added, "removed", changes.Removed, "took", time.Since(began))
	return i, err
}

// Unpack unpacks those that are packed, and were not unpacked before.
func (i *Images) Unpack(ctx context.Context) error {
	if i == nil {
		return nil
	}
	began := time.Now()
	unpacked, err := node.Unpack(ctx, i.client, i.seed)
	if unpacked > 0 {
		slog.Info("images", "unpacked", unpacked, "took", time.Since(began))
	}
	return err
}

// Close ends the connection to containerd.
func (i *Images) Close() error {
	if i == nil {
		return nil
	}
	return i.client.Close()
}
