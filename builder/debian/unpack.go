package debian

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/builder/ctxio"
	"github.com/skerry-os/skerry/builder/xz"
)

// Unpack extracts the files of this package from deb, where Fetch has put it,
// into dir, which must exist and be empty. keep selects by path, without a
// slash at the start; nil keeps all. Folders above what is kept are made.
//
// The .deb is checked against size and hash first. Contents and permissions
// are those of the package, whatever the umask, without the bits that lend
// rights (set-user-ID and set-group-ID); owners and times are of the caller and
// the moment. Hard links stay hard links. Symbolic links are made as they are,
// even when they lead out of dir, and nothing is written through one. Device
// nodes and names that leave dir are errors. After an error dir may hold a part
// of the files.
func (p Package) Unpack(ctx context.Context, deb, dir string, keep func(path string) bool) error {
	if err := p.unpack(ctx, deb, dir, keep); err != nil {
		return fmt.Errorf("unpack package %s: %w", p, err)
	}
	return nil
}

func (p Package) unpack(ctx context.Context, deb, dir string, keep func(path string) bool) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if info.Size() == p.Size {
		if _, err := io.CopyBuffer(sum, ctxio.Reader(ctx, f), make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	if info.Size() != p.Size || hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%s is damaged: remove it, it is fetched again", deb)
	}
	return unpackDeb(ctx, f, info.Size(), dir, keep)
}

// unpackDeb extracts a .deb of this size.
func unpackDeb(ctx context.Context, deb io.ReaderAt, size int64, dir string, keep func(path string) bool) error {
	suffix, data, err := dataMember(deb, size)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := mustBeEmpty(root, dir); err != nil {
		return err
	}
	extract := func(r io.Reader) error {
		// Reads from a pipe or a decoder are small without the buffer.
		x := newExtraction(root, keep)
		return x.run(bufio.NewReaderSize(ctxio.Reader(ctx, r), 256<<10))
	}
	switch suffix {
	case "":
		return extract(data)
	case ".xz":
		return xz.Decompress(ctx, data, extract)
	case ".gz":
		z, err := gzip.NewReader(data)
		if err != nil {
			return fmt.Errorf("data.tar.gz: %w", err)
		}
		return toTheEnd(z, extract)
	case ".zst":
		z, err := zstd.NewReader(data, zstd.WithDecoderMaxMemory(1<<30), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return fmt.Errorf("data.tar.zst: %w", err)
		}
		defer z.Close()
		return toTheEnd(z, extract)
	}
	return fmt.Errorf("data.tar%s: this compression is not supported, only xz, zst and gz", suffix)
}

// toTheEnd reads on where use stops, so that checksums at the end are checked.
func toTheEnd(r io.Reader, use func(r io.Reader) error) error {
	if err := use(r); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(r, xz.MaxTrailingBytes))
	return err
}

func mustBeEmpty(root *os.Root, dir string) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	switch _, err := f.Readdirnames(1); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("folder %s is not empty", dir)
	default:
		return err
	}
}
