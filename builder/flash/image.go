package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/packing"
	"github.com/skerry-os/skerry/builder/xz"
)

const (
	// MaxImageBytes bounds what a compressed image may unpack to.
	MaxImageBytes = 256 << 30

	unitBytes  = 64 << 10 // a hole is one of these or more, and so is what is written
	chunkBytes = 4 << 20  // read and written at a time
	// maxWindowBytes bounds the memory that a zstd image may ask for: what
	// `zstd -d` allows without being told.
	maxWindowBytes = 128 << 20
)

// Form is how an image is packed.
type Form string

// Forms of images, told apart by how they begin.
const (
	Raw  Form = "img"
	Zstd Form = "img.zst"
	XZ   Form = "img.xz"
)

// forms are those that are read.
var forms = map[packing.Form]Form{packing.Zstd: Zstd, packing.XZ: XZ}

// refused says of other forms what to do.
var refused = map[packing.Form]string{
	packing.Gzip:  "it is gzip: unpack it with gzip -d, or pipe it in: gzip -dc FILE | builder flash -",
	packing.QCOW2: "it is qcow2: convert it with qemu-img convert -O raw, or build it with --format img.zst",
	packing.Zip:   "it is a zip archive: unpack it",
}

func detect(start []byte) (Form, error) {
	found := packing.Detect(start)
	if advice, ok := refused[found]; ok {
		return "", errors.New(advice)
	}
	if form, ok := forms[found]; ok {
		return form, nil
	}
	return Raw, nil
}

// Image is a disk image that is read once.
type Image struct {
	Form Form
	Size int64 // in bytes, unpacked; 0 if that is not known before it is read

	name   string
	file   *os.File  // a file, of which holes can be asked for; else nil
	opened io.Closer // nil for standard input
	in     io.Reader // packed
	packed int64     // size of the file, in bytes
	read   atomic.Int64
	sum    hash.Hash // of what is read, packed; nil if nobody asked
}

// Open opens an image file, or standard input if the name is "-".
func Open(name string, stdin io.Reader) (*Image, error) {
	i := &Image{name: name, in: stdin}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err == nil && info.IsDir() {
			err = errors.New("it is a folder")
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		i.in, i.opened = file, file
		if info.Mode().IsRegular() {
			i.file, i.packed = file, info.Size()
		}
	}
	start := make([]byte, zstd.HeaderMaxSize)
	n, err := io.ReadFull(i.in, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		i.Close()
		return nil, fmt.Errorf("read %s: %w", i.label(), err)
	}
	start = start[:n]
	if i.Form, err = detect(start); err != nil {
		i.Close()
		return nil, fmt.Errorf("%s is no image that can be written as it is: %w", i.label(), err)
	}
	i.in = io.MultiReader(bytes.NewReader(start), i.in)
	switch i.Form {
	case Raw:
		i.Size = i.packed
	case Zstd:
		var h zstd.Header
		if h.Decode(start) == nil && h.HasFCS && h.FrameContentSize <= MaxImageBytes {
			i.Size = int64(h.FrameContentSize)
		}
	}
	return i, nil
}

func (i *Image) label() string {
	if i.name == "-" {
		return "standard input"
	}
	return i.name
}

// Close closes the file.
func (i *Image) Close() error {
	if i.opened == nil {
		return nil
	}
	return i.opened.Close()
}

// chunk is a part of an image that is not all zeros.
type chunk struct {
	at   int64
	data []byte
	runs []run
}

// run is a part of a chunk, from unit to unit, in which no unit is zero.
type run struct{ from, to int }

// scan finds the runs of data.
func scan(data []byte) []run {
	zeros := make([]byte, unitBytes)
	var runs []run
	for from := 0; from < len(data); from += unitBytes {
		to := min(from+unitBytes, len(data))
		if bytes.Equal(data[from:to], zeros[:to-from]) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].to == from {
			runs[n-1].to = to
			continue
		}
		runs = append(runs, run{from, to})
	}
	return runs
}

// errTooLarge says that there is more of an image than room.
var errTooLarge = errors.New("the image is too large")

// chunks reads the image, up to limit bytes, and hands on what is not zero.
// emit returns another buffer for the next chunk.
func (i *Image) chunks(ctx context.Context, limit int64, emit func(chunk) ([]byte, error)) (size int64, err error) {
	if i.Form == Raw && i.file != nil {
		return i.sparse(ctx, limit, emit)
	}
	err = i.unpack(ctx, func(r io.Reader) error {
		size, err = stream(ctx, r, limit, emit)
		return err
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errTooLarge) && i.Form != Raw {
		err = fmt.Errorf("unpack %s: %w: is the file complete?", i.label(), err)
	}
	return size, err
}

// sparse reads a file and passes over its holes.
func (i *Image) sparse(ctx context.Context, limit int64, emit func(chunk) ([]byte, error)) (int64, error) {
	if i.Size > limit {
		return i.Size, errTooLarge
	}
	buffer := make([]byte, chunkBytes)
	for at := int64(0); at < i.Size; {
		start, end, err := disk.NextData(i.file, at, i.Size)
		if err != nil {
			return 0, err
		}
		at = max(at, start/unitBytes*unitBytes)
		end = min((end+unitBytes-1)/unitBytes*unitBytes, i.Size)
		for at < end {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			// Chunks begin where those of a stream do, so that the map is the same.
			piece := buffer[:min(end-at, chunkBytes-at%chunkBytes)]
			if _, err := i.file.ReadAt(piece, at); err != nil {
				return 0, fmt.Errorf("read %s: %w: did it become shorter?", i.name, err)
			}
			if runs := scan(piece); len(runs) > 0 {
				if buffer, err = emit(chunk{at, piece, runs}); err != nil {
					return 0, err
				}
			}
			at += int64(len(piece))
		}
		if start == i.Size {
			break
		}
	}
	return i.Size, nil
}

// stream reads to the end of r.
func stream(ctx context.Context, r io.Reader, limit int64, emit func(chunk) ([]byte, error)) (size int64, err error) {
	buffer := make([]byte, chunkBytes)
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, readErr := fill(r, buffer)
		if int64(n) > limit-size {
			return size, errTooLarge
		}
		if runs := scan(buffer[:n]); len(runs) > 0 {
			if buffer, err = emit(chunk{size, buffer[:n], runs}); err != nil {
				return size, err
			}
		}
		size += int64(n)
		if errors.Is(readErr, io.EOF) {
			return size, nil
		}
		if readErr != nil {
			return size, readErr
		}
	}
}

// fill reads until b is full. Unlike io.ReadFull it leaves the reader's errors
// alone: an unpacker says io.ErrUnexpectedEOF when its input is cut off.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// unpack calls use with the image's bytes.
func (i *Image) unpack(ctx context.Context, use func(io.Reader) error) error {
	in := io.Reader(&counter{i})
	switch i.Form {
	case Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return err
		}
		defer z.Close()
		return use(z)
	case XZ:
		return xz.Decompress(ctx, in, use)
	}
	return use(in)
}

// counter counts and hashes what is read of the packed image.
type counter struct{ i *Image }

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.i.in.Read(b)
	c.i.read.Add(int64(n))
	if c.i.sum != nil {
		c.i.sum.Write(b[:n])
	}
	return n, err
}

// total estimates how many bytes there will be to write, from how many there
// were and how far the packed image is read. 0 stands for not known.
func (i *Image) total(written int64) int64 {
	read := i.read.Load()
	if i.packed == 0 || read == 0 {
		return 0
	}
	return max(written, int64(float64(written)*float64(i.packed)/float64(read)))
}

// dataBytes returns how much of a raw image file is no hole; 0 if not known.
func (i *Image) dataBytes() int64 {
	if i.Form != Raw || i.file == nil {
		return 0
	}
	var data int64
	for at := int64(0); at < i.Size; {
		start, end, err := disk.NextData(i.file, at, i.Size)
		if err != nil || end <= at {
			break
		}
		data += end - start
		at = end
	}
	return data
}

// Read reads an image to its end and returns its map.
func Read(ctx context.Context, i *Image, o MapOptions) (*Map, error) {
	m := newMapper(i, o)
	size, err := i.chunks(ctx, MaxImageBytes, func(c chunk) ([]byte, error) {
		m.add(c)
		if o.Progress != nil {
			o.Progress.Bytes(c.at, i.Size)
		}
		return c.data[:cap(c.data)], nil
	})
	if errors.Is(err, errTooLarge) {
		err = fmt.Errorf("%s unpacks to more than %d GiB", i.label(), MaxImageBytes>>30)
	}
	if err != nil {
		return nil, err
	}
	return m.finish(size)
}
