package builder

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/ctxio"
	"github.com/skerry-os/skerry/builder/hosttool"
)

// Formats are the forms a disk image can be written in.
var Formats = []string{"img", "img.zst", "img.xz", "qcow2"}

// convert returns the disk image in a format, and whether the cache had it.
func (b *build) convert(ctx context.Context, format string) (made artifact, hit bool, err error) {
	if format == "img" {
		made, err := b.disk.file(ctx)
		return made, false, err
	}
	by, err := converter(ctx, format)
	if err != nil {
		return artifact{}, false, err
	}
	key := cache.NewKey("disk."+format, 2).Add("disk", b.disk.key).Add("by", by)
	dir, hit, err := b.cache.Step(ctx, "format", key, func(dir string) error {
		from := b.disk.path
		if !b.disk.made { // nor does anybody want it where the release goes, perhaps
			from = filepath.Join(dir, "disk")
			if err := b.disk.write(ctx, from); err != nil {
				return err
			}
			defer os.Remove(from)
		}
		return convertDisk(ctx, from, filepath.Join(dir, "disk."+format), format)
	})
	return artifact{Path: filepath.Join(dir, "disk."+format), Key: key.String()}, hit, err
}

// convertDisk writes a disk image in a format.
func convertDisk(ctx context.Context, from, to, format string) error {
	switch format {
	case "img.zst":
		return compressZstd(ctx, to, from)
	case "img.xz":
		return create(to, func(w io.Writer) error {
			return hosttool.Run(ctx, w, "xz", "--threads=2", "-6", "--stdout", from)
		})
	}
	return hosttool.Run(ctx, nil, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", from, to)
}

// converter identifies what makes a format: its bytes change with it.
func converter(ctx context.Context, format string) (string, error) {
	switch format {
	case "img.zst":
		return libraries(libraryZstd)
	case "img.xz":
		return hosttool.Fingerprint(ctx, "xz")
	}
	return hosttool.Fingerprint(ctx, "qemu-img")
}

// compressZstd compresses in one stream, so that the result does not depend on
// the number of processors.
func compressZstd(ctx context.Context, to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return create(to, func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if _, err := io.Copy(z, ctxio.Reader(ctx, in)); err != nil {
			return err
		}
		return z.Close()
	})
}
