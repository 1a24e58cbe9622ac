package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/builder/initramfs"
	"github.com/skerry-os/skerry/builder/tree"
)

// Limits on an initramfs, far above what an image has.
const (
	maxInitramfs      = 512 << 20 // bytes, unpacked
	maxInitramfsFiles = 1 << 16
	maxInitramfsPath  = 4096
)

// unpackInitramfs reads a cpio archive in the "newc" format, compressed with
// zstd (Linux, driver-api/early-userspace/buffer-format). Devices are left out
// of the tree, except that one is asked for: without /dev/console the first
// program starts with no file descriptors. It fails on more than limit bytes.
func unpackInitramfs(ctx context.Context, r io.Reader, limit int64) (*tree.Tree, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(2*initramfs.WindowBytes), zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	limited := &io.LimitedReader{R: z, N: limit}
	t, console, err := readCPIO(ctx, limited)
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	case err != nil:
		return nil, err
	case !console:
		return nil, errors.New("there is no device dev/console")
	}
	return t, nil
}

const (
	cpioMagic       = "070701"
	cpioHeaderBytes = 110
	cpioTrailer     = "TRAILER!!!"
)

// readCPIO reads an archive up to its trailer. It refuses what the kernel
// passes over without a word: a file in a folder that is not there.
func readCPIO(ctx context.Context, r io.Reader) (t *tree.Tree, console bool, err error) {
	t = tree.New()
	for count := 0; count <= maxInitramfsFiles; count++ {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		f, name, err := readRecord(r)
		if err != nil {
			return nil, false, err
		}
		if name == cpioTrailer {
			return t, console, nil
		}
		switch {
		case name == "dev/console" && f.Mode&fs.ModeCharDevice != 0:
			console = true
			continue
		case f.Mode.Type() == fs.ModeDir, f.Mode.Type() == fs.ModeSymlink, f.Mode.IsRegular():
		default:
			continue
		}
		if name == "." {
			continue
		}
		if dir := path.Dir(name); dir != "." {
			if parent, ok := t.Get(dir); !ok || !parent.Mode.IsDir() {
				return nil, false, fmt.Errorf("%.200q is in it before its folder", name)
			}
		}
		if err := t.Add(name, f); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("it has more than %d files", maxInitramfsFiles)
}

// readRecord reads one file with its name and contents.
func readRecord(r io.Reader) (f tree.File, name string, err error) {
	head := make([]byte, cpioHeaderBytes)
	if _, err := io.ReadFull(r, head); err != nil {
		return f, "", fmt.Errorf("read a header of cpio: %w", unexpected(err))
	}
	if string(head[:6]) != cpioMagic {
		return f, "", fmt.Errorf("a header of cpio begins with %q: %s is expected", head[:6], cpioMagic)
	}
	var fields [13]int64
	for n := range fields {
		v, err := strconv.ParseUint(string(head[6+8*n:][:8]), 16, 32)
		if err != nil {
			return f, "", fmt.Errorf("a header of cpio has %q for a number", head[6+8*n:][:8])
		}
		fields[n] = int64(v)
	}
	mode, size, length := fields[1], fields[6], fields[11]
	if length < 2 || length > maxInitramfsPath || size > maxInitramfs {
		return f, "", fmt.Errorf("a file has %d bytes, and its name %d", size, length)
	}
	named := make([]byte, length+padding(cpioHeaderBytes+length))
	if _, err := io.ReadFull(r, named); err != nil {
		return f, "", fmt.Errorf("read a name: %w", unexpected(err))
	}
	name = string(bytes.TrimRight(named[:length], "\x00"))
	if name != cpioTrailer && !fs.ValidPath(name) {
		return f, "", fmt.Errorf("a file cannot be called %.200q", name)
	}
	// Not make(size): what a header says is believed as far as there are bytes.
	var contents bytes.Buffer
	if _, err := io.CopyN(&contents, r, size+padding(size)); err != nil {
		return f, "", fmt.Errorf("read %.200q: %w", name, unexpected(err))
	}
	contents.Truncate(int(size))
	f.Mode = unixMode(uint16(mode))
	if f.Mode.Type() == fs.ModeSymlink {
		f.Target = contents.String()
	} else {
		f.Bytes = contents.Bytes()
	}
	return f, name, nil
}

// padding returns how many bytes fill up n to a multiple of 4.
func padding(n int64) int64 { return (4 - n%4) % 4 }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
