package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/packing"
	"github.com/skerry-os/skerry/builder/progress"
)

// PrepareDisk makes target a disk of size bytes, or as large as the image if
// that is 0, with a copy of the image on it, and the node config on partition
// boot if one is given. A target that exists is kept as it is, but for the
// config. When it fails there is no new target.
func PrepareDisk(ctx context.Context, image, target string, size int64, config string) error {
	var contents []byte
	if config != "" {
		var err error
		if contents, err = readConfig(config); err != nil {
			return err
		}
	}
	_, err := os.Stat(target)
	switch {
	case err == nil && contents != nil:
		return disk.WriteBootFile(target, configName, contents, time.Now())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := checkImage(image, size); err != nil {
		return err
	}
	// Under another name until it is complete: half a disk must not be taken
	// for one that was kept.
	part := target + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDisk(ctx, image, part, size, contents); err != nil {
		os.Remove(part)
		return err
	}
	return os.Rename(part, target)
}

func makeDisk(ctx context.Context, image, name string, size int64, config []byte) error {
	if err := disk.Copy(ctx, name, image); err != nil {
		return err
	}
	if size > 0 {
		if err := os.Truncate(name, size); err != nil {
			return err
		}
	}
	if config != nil {
		if err := disk.WriteBootFile(name, configName, config, time.Now()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// unpacking are the commands that unpack images from which no machine can start
// as they are.
var unpacking = map[packing.Form]string{
	packing.Zstd:  "zstd -d %s",
	packing.XZ:    "xz -d -k %s",
	packing.Gzip:  "gzip -d -k %s",
	packing.QCOW2: "qemu-img convert -O raw %s disk.img",
}

// checkImage refuses an image that is not written as it is on a disk, or that
// is larger than the disk.
func checkImage(name string, size int64) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	start := make([]byte, 8)
	if n, err := io.ReadFull(file, start); err != nil {
		return fmt.Errorf("%s is no disk image: it has %d bytes", name, n)
	}
	if command, ok := unpacking[packing.Detect(start)]; ok {
		return fmt.Errorf("%s is compressed, and a machine starts from a plain image: unpack it with `%s`, or build it with --format img",
			name, strings.ReplaceAll(command, "%s", name))
	}
	if size != 0 && size < info.Size() {
		return fmt.Errorf("a disk of %s is too small for %s, which has %s: pass a larger --disk-size",
			progress.Size(size), name, progress.Size(info.Size()))
	}
	return nil
}
