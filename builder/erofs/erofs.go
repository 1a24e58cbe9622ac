// Package erofs makes the root file system: an EROFS image of a tree, by
// mkfs.erofs of the host (erofs-utils 1.5 or newer).
//
// The same tree, options and version of mkfs.erofs give the same bytes; the
// version is therefore part of what a build records. All files belong to root,
// have one time and no extended attributes. A file that is in the tree under
// several names is stored once (Tree.WriteTo). The image is padded for
// dm-verity. Hashing it is left to package verity.
package erofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/hosttool"
	"github.com/skerry-os/skerry/builder/tree"
)

// Program is the host's program that makes images.
const Program = "mkfs.erofs"

// blockSize is what the image is padded to: a data block of dm-verity.
const blockSize = 4096

// Compression is how file contents are compressed.
type Compression string

// Measured on a 533 MB root on two cores: LZ4 2.2 s and 283 MB, LZ4HC 33 s and
// 240 MB.
const (
	LZ4   Compression = "lz4"   // for builds somebody waits for
	LZ4HC Compression = "lz4hc" // in clusters of 64 KiB, for releases
)

func (c Compression) arguments() ([]string, error) {
	switch c {
	case LZ4:
		return []string{"-zlz4"}, nil
	case LZ4HC:
		return []string{"-zlz4hc", "-C65536"}, nil
	}
	return nil, fmt.Errorf("no compression %q: use %s or %s", c, LZ4, LZ4HC)
}

// Options say what to make.
type Options struct {
	Tree        *tree.Tree
	Output      string // file to be made, or replaced once the image is complete
	UUID        uuid.UUID
	Time        time.Time // of all files, in whole seconds
	Compression Compression
	WorkDir     string // for the staged tree: needs its size, and is best on the file system of the sources
}

// Version returns the version of the host's mkfs.erofs, such as "1.5".
func Version(ctx context.Context) (string, error) {
	cmd := hosttool.Command(ctx, nil, Program, "-V")
	// 1.5 prints its version, then complains of the option and exits with 1.
	out, err := cmd.Output()
	first, _, _ := strings.Cut(string(out), "\n")
	fields := strings.Fields(first)
	if len(fields) >= 2 && strings.HasPrefix(fields[0], "mkfs.erofs") {
		return fields[len(fields)-1], nil
	}
	if err == nil {
		err = fmt.Errorf("it prints %.80q", first)
	}
	return "", fmt.Errorf("ask for the version of mkfs.erofs: %w", hosttool.Explain(ctx, cmd, err, ""))
}

// Make stages the tree below WorkDir, runs mkfs.erofs and removes the stage.
// It returns the size of the image in bytes. When ctx ends, the program is
// killed and nothing is left behind.
func Make(ctx context.Context, o Options) (int64, error) {
	size, err := build(ctx, o)
	if err != nil {
		return 0, fmt.Errorf("make root file system %s: %w", o.Output, err)
	}
	return size, nil
}

func build(ctx context.Context, o Options) (size int64, err error) {
	compression, err := o.Compression.arguments()
	if err != nil {
		return 0, err
	}
	stage, err := os.MkdirTemp(o.WorkDir, "root-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	// The directory becomes the root of the image, with its mode.
	if err := os.Chmod(stage, 0o755); err != nil {
		return 0, err
	}
	// Copies of the sources: mkfs.erofs takes link counts and identities from the
	// files, and a source may have names outside of the tree.
	if err := o.Tree.WriteTo(stage); err != nil {
		return 0, fmt.Errorf("stage the tree: %w", err)
	}
	image, err := os.CreateTemp(filepath.Dir(o.Output), filepath.Base(o.Output)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		image.Close()
		if err != nil {
			os.Remove(image.Name())
		}
	}()

	args := append(compression,
		"-T", strconv.FormatInt(o.Time.Unix(), 10),
		"-U", o.UUID.String(),
		"-x-1", "--all-root", "--quiet",
		image.Name(), stage)
	if err := hosttool.Run(ctx, nil, Program, args...); err != nil {
		return 0, err
	}
	info, err := image.Stat()
	if err != nil {
		return 0, err
	}
	size = (info.Size() + blockSize - 1) / blockSize * blockSize
	if err := image.Truncate(size); err != nil {
		return 0, err
	}
	return size, os.Rename(image.Name(), o.Output)
}
