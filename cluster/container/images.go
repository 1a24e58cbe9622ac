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

// SeedImages makes the images that the node carries with it known to
// containerd, which must listen. No data is copied.
func SeedImages(ctx context.Context, c *config.Config) error {
	return withSeed(c, func(client *containerd.Client, seed *imageseed.Seed) error {
		began := time.Now()
		changes, err := node.Apply(ctx, client, seed)
		slog.Info("images", "added", changes.Added, "removed", changes.Removed, "took", time.Since(began))
		return err
	})
}

// UnpackImages unpacks those of them that are packed, and were not before.
func UnpackImages(ctx context.Context, c *config.Config) error {
	return withSeed(c, func(client *containerd.Client, seed *imageseed.Seed) error {
		began := time.Now()
		unpacked, err := node.Unpack(ctx, client, seed)
		if unpacked > 0 {
			slog.Info("images", "unpacked", unpacked, "took", time.Since(began))
		}
		return err
	})
}

// withSeed calls do if the node carries images.
func withSeed(c *config.Config, do func(*containerd.Client, *imageseed.Seed) error) error {
	dir, err := imagesDir(c)
	if err != nil || dir == "" {
		return err
	}
	seed, err := imageseed.Open(dir)
	if err != nil {
		return err
	}
	client, err := containerd.New(Socket(c), containerd.WithTimeout(time.Minute))
	if err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	defer client.Close()
	return do(client, seed)
}
