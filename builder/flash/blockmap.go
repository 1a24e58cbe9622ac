package flash

import (
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

// rangeBytes bounds a range, so that a bad one says where the bad place is.
const rangeBytes = 32 << 20

// shortHole is the longest hole that counts as data in Blocks.
const shortHole = 16 << 20

// sectorBytes is the least that a disk is written in.
const sectorBytes = 512

// Map says which parts of an image are data. All else in it is zero. It depends
// on the image's bytes only, not on how the image is packed or on holes of its file.
type Map struct {
	Size   int64   // of the image, in bytes
	Ranges []Range // in order, none next to each other without need, none empty

	// Blocks are the ranges with the short holes between them, for tools that
	// leave what is no range as it is; nil if nobody asked. See WriteBmap.
	Blocks []Range

	// The digests of the whole image and of its file as it is packed; zero if
	// nobody asked for them.
	SHA256, PackedSHA256 release.Digest
	PackedSize           int64 // of the file, in bytes
}

// Range is a part of an image that is data: whole units of 64 KiB, but for the
// image's last.
type Range struct {
	Offset, Size int64 // in bytes
	SHA256       release.Digest
}

func (r Range) end() int64 { return r.Offset + r.Size }

// Bytes returns how much of the image is data.
func (m *Map) Bytes() int64 {
	var n int64
	for _, r := range m.Ranges {
		n += r.Size
	}
	return n
}

// MapOptions say what to find out besides the ranges.
type MapOptions struct {
	Digests  bool // of the whole image and of its file
	Blocks   bool
	Progress *progress.Step
}

// mapper makes the map of an image while it is read.
type mapper struct {
	image  *Image
	ranges ranger
	blocks *ranger   // nil if nobody asked
	whole  hash.Hash // nil if nobody asked
	at     int64     // how far whole is
}

func newMapper(i *Image, o MapOptions) *mapper {
	m := &mapper{image: i, ranges: ranger{h: sha256.New()}}
	if o.Blocks {
		m.blocks = &ranger{h: sha256.New(), gap: shortHole}
	}
	if o.Digests {
		m.whole = sha256.New()
		if i.Form != Raw {
			i.sum = sha256.New()
		}
	}
	return m
}

func (m *mapper) add(c chunk) {
	for _, r := range c.runs {
		at, data := c.at+int64(r.from), c.data[r.from:r.to]
		if m.whole != nil {
			m.zeros(at)
			m.whole.Write(data)
			m.at = at + int64(len(data))
		}
		m.ranges.add(at, data)
		if m.blocks != nil {
			m.blocks.add(at, data)
		}
	}
}

// ranger makes ranges of data that comes in order.
type ranger struct {
	list []Range
	h    hash.Hash // of the last of them
	gap  int64     // holes up to so many bytes count as data
}

func (r *ranger) add(at int64, data []byte) {
	if last := r.last(); last != nil && at-last.end() <= r.gap {
		for zeros := make([]byte, unitBytes); r.last().end() < at; {
			end := r.last().end()
			r.put(end, zeros[:min(at-end, unitBytes)])
		}
	}
	r.put(at, data)
}

func (r *ranger) put(at int64, data []byte) {
	for len(data) > 0 {
		last := r.last()
		if last == nil || last.end() != at || last.Size == rangeBytes {
			r.finish()
			r.list = append(r.list, Range{Offset: at})
			last = r.last()
		}
		n := min(int64(len(data)), rangeBytes-last.Size)
		r.h.Write(data[:n])
		last.Size += n
		at, data = at+n, data[n:]
	}
}

// last returns the range that is being made.
func (r *ranger) last() *Range {
	if len(r.list) == 0 {
		return nil
	}
	return &r.list[len(r.list)-1]
}

// finish ends the last range.
func (r *ranger) finish() {
	if last := r.last(); last != nil {
		last.SHA256 = release.Digest(r.h.Sum(nil))
	}
	r.h.Reset()
}

// zeros brings the digest of the whole image up to a place.
func (m *mapper) zeros(to int64) {
	zeros := make([]byte, max(0, min(to-m.at, 1<<20)))
	for m.at < to {
		n, _ := m.whole.Write(zeros[:min(to-m.at, int64(len(zeros)))])
		m.at += int64(n)
	}
}

func (m *mapper) finish(size int64) (*Map, error) {
	if size%sectorBytes != 0 {
		return nil, fmt.Errorf("%s is no complete disk image: its %d bytes are not a multiple of %d", m.image.label(), size, sectorBytes)
	}
	if len(m.ranges.list) == 0 {
		return nil, errNoTable
	}
	m.ranges.finish()
	made := &Map{Size: size, Ranges: m.ranges.list, PackedSize: m.image.packed}
	if m.blocks != nil {
		m.blocks.finish()
		made.Blocks = m.blocks.list
	}
	if m.whole != nil {
		m.zeros(size)
		made.SHA256 = release.Digest(m.whole.Sum(nil))
		made.PackedSHA256 = made.SHA256
		if m.image.sum != nil {
			made.PackedSHA256 = release.Digest(m.image.sum.Sum(nil))
		}
	}
	return made, nil
}
