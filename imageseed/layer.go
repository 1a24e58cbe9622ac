package imageseed

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Limits on a layer, far above what a node carries.
const (
	maxEntries    = 1 << 18
	maxLayerBytes = 64 << 30
)

// Entry is a file, directory or symbolic link of a layer.
type Entry struct {
	Path   string      // clean, relative, separated by slashes
	Mode   fs.FileMode // type and permission bits
	Target string      // of a symbolic link
	Size   int64       // of a file, in bytes
	// Open returns the contents of a file. It is called for every read.
	Open func() (Contents, error)
}

// Contents are those of a file.
type Contents interface {
	io.ReaderAt
	io.Closer
}

// NoClose returns contents that are there without being opened.
func NoClose(r io.ReaderAt) Contents { return noClose{r} }

type noClose struct{ io.ReaderAt }

func (noClose) Close() error { return nil }

// Layer is the tar archive of some files, put together while it is read.
// Everything in it belongs to root and has time 0. Reads can run at the same
// time.
type Layer struct {
	segments []segment
	size     int64
}

// segment is a run of bytes of an archive: those of a file, or else bytes, with
// zeros behind them up to the next segment.
type segment struct {
	offset int64
	bytes  []byte
	entry  *Entry
}

// blockSize is what everything in a tar archive is a multiple of (pax(1)).
const blockSize = 512

// NewLayer makes the archive of entries, in the order of their paths.
func NewLayer(entries []Entry) (*Layer, error) {
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("a layer of %d files: there can be %d", len(entries), maxEntries)
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	l := &Layer{}
	for i := range entries {
		e := &entries[i]
		header, err := e.header()
		if err == nil && i > 0 && entries[i-1].Path == e.Path {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("put %.200q into a layer: %w", e.Path, err)
		}
		l.segments = append(l.segments, segment{offset: l.size, bytes: header})
		l.size += int64(len(header))
		if e.Mode.IsRegular() && e.Size > 0 {
			l.segments = append(l.segments, segment{offset: l.size, entry: e})
			l.size += (e.Size + blockSize - 1) / blockSize * blockSize
		}
		if l.size > maxLayerBytes {
			return nil, fmt.Errorf("a layer of more than %d bytes", int64(maxLayerBytes))
		}
	}
	// An archive ends with two blocks of zeros.
	l.segments = append(l.segments, segment{offset: l.size})
	l.size += 2 * blockSize
	return l, nil
}

// header returns the blocks in front of an entry's contents.
func (e *Entry) header() ([]byte, error) {
	if !fs.ValidPath(e.Path) || e.Path == "." {
		return nil, errors.New("a clean relative path is needed")
	}
	h := &tar.Header{Name: e.Path, Mode: int64(e.Mode.Perm()), ModTime: time.Unix(0, 0)}
	switch e.Mode &^ fs.ModePerm {
	case 0:
		if e.Size < 0 || e.Size > maxLayerBytes {
			return nil, fmt.Errorf("a file cannot have %d bytes", e.Size)
		}
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case fs.ModeSymlink:
		if e.Target == "" {
			return nil, errors.New("a symbolic link to nowhere")
		}
		// File systems disagree about the permissions of a link.
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Target, 0o777
	default:
		return nil, fmt.Errorf("it is %v: only files, directories and symbolic links without special bits can be part of a layer", e.Mode)
	}
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(h); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Size returns the length of the archive in bytes.
func (l *Layer) Size() int64 { return l.size }

// ReadAt reads bytes of the archive (io.ReaderAt).
func (l *Layer) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read a layer at a negative offset")
	}
	if off >= l.size {
		return 0, io.EOF
	}
	if rest := l.size - off; int64(len(p)) > rest {
		p, err = p[:rest], io.EOF
	}
	// The last segment that does not begin behind off.
	at, found := slices.BinarySearchFunc(l.segments, off, func(s segment, off int64) int {
		return cmp.Compare(s.offset, off)
	})
	if !found {
		at--
	}
	for ; n < len(p); at++ {
		end := l.size
		if at+1 < len(l.segments) {
			end = l.segments[at+1].offset
		}
		part := p[n:min(int64(len(p)), int64(n)+end-off)]
		if err := l.segments[at].read(part, off-l.segments[at].offset); err != nil {
			return n, err
		}
		n += len(part)
		off += int64(len(part))
	}
	return n, err
}

// read fills p with what is in a segment from off on.
func (s *segment) read(p []byte, off int64) error {
	if s.entry == nil {
		n := 0
		if off < int64(len(s.bytes)) {
			n = copy(p, s.bytes[off:])
		}
		clear(p[n:])
		return nil
	}
	inside := p[:max(0, min(int64(len(p)), s.entry.Size-off))]
	clear(p[len(inside):])
	if len(inside) == 0 {
		return nil
	}
	contents, err := s.entry.Open()
	if err != nil {
		return err
	}
	defer contents.Close()
	if n, err := contents.ReadAt(inside, off); n < len(inside) {
		return fmt.Errorf("read %s of a layer: %w", s.entry.Path, err)
	}
	return nil
}

// Digest reads the whole archive and returns its SHA-256.
func (l *Layer) Digest() (digest.Digest, error) {
	return digest.SHA256.FromReader(io.NewSectionReader(l, 0, l.size))
}

// ScanDir returns everything below a folder as entries.
func ScanDir(dir string) ([]Entry, error) {
	var entries []Entry
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		if len(entries) >= maxEntries {
			return fmt.Errorf("%s has more than %d files", dir, maxEntries)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := Entry{Path: filepath.ToSlash(rel), Mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			e.Size = info.Size()
			e.Open = func() (Contents, error) { return os.Open(name) }
		case info.Mode().Type() == fs.ModeSymlink:
			if e.Target, err = os.Readlink(name); err != nil {
				return err
			}
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}
