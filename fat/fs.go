package fat

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
)

// Open opens a file or directory. A file is an io.ReaderAt too.
func (v *FS) Open(name string) (fs.File, error) {
	e, err := v.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.isDir() {
		list, err := v.dirEntries(e)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{info: fileInfo{e, path.Base(name)}, entries: list}, nil
	}
	contents, err := v.contents(e)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{contents, fileInfo{e, path.Base(name)}}, nil
}

// ReadDir returns the entries of a directory, sorted by name.
func (v *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := v.find("readdir", name)
	if err != nil {
		return nil, err
	}
	list, err := v.dirEntries(e)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

func (v *FS) dirEntries(dir entry) ([]fs.DirEntry, error) {
	entries, err := v.list(dir)
	if err != nil {
		return nil, err
	}
	var list []fs.DirEntry
	for _, e := range entries {
		list = append(list, fs.FileInfoToDirEntry(fileInfo{e, e.name()}))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// ReadFile returns the contents of a file.
func (v *FS) ReadFile(name string) ([]byte, error) {
	e, err := v.find("read", name)
	if err != nil {
		return nil, err
	}
	if e.isDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	contents, err := v.contents(e)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	b := make([]byte, contents.Size())
	_, err = io.ReadFull(contents, b)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// Stat describes a file or directory.
func (v *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := v.find("stat", name)
	if err != nil {
		return nil, err
	}
	return fileInfo{e, path.Base(name)}, nil
}

// contents returns a reader of a file.
func (v *FS) contents(e entry) (*io.SectionReader, error) {
	want := (int64(e.size) + v.clusterBytes - 1) / v.clusterBytes
	var chain []uint32
	if want > 0 {
		var err error
		if chain, err = v.table.chain(e.cluster, want); err != nil {
			return nil, err
		}
		if int64(len(chain)) != want {
			return nil, fmt.Errorf("it has %d clusters for %d bytes", len(chain), e.size)
		}
	}
	return io.NewSectionReader(&clusterReader{v, chain}, 0, int64(e.size)), nil
}

// clusterReader reads along a chain of clusters.
type clusterReader struct {
	v     *FS
	chain []uint32
}

func (c *clusterReader) ReadAt(b []byte, at int64) (int, error) {
	done := 0
	for done < len(b) {
		index, within := (at+int64(done))/c.v.clusterBytes, (at+int64(done))%c.v.clusterBytes
		if index >= int64(len(c.chain)) {
			return done, io.EOF
		}
		want := int64(len(b) - done)
		// Neighbouring clusters are read at once.
		run := int64(1)
		for run*c.v.clusterBytes < within+want && index+run < int64(len(c.chain)) &&
			c.chain[index+run] == c.chain[index]+uint32(run) {
			run++
		}
		n, err := c.v.r.ReadAt(b[done:done+int(min(want, run*c.v.clusterBytes-within))],
			c.v.offset(c.chain[index])+within)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

type openFile struct {
	*io.SectionReader
	info fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	list := d.entries[:n]
	d.entries = d.entries[n:]
	return list, nil
}

type fileInfo struct {
	entry entry
	name  string
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return int64(i.entry.size) }
func (i fileInfo) ModTime() time.Time { return i.entry.modified }
func (i fileInfo) IsDir() bool        { return i.entry.isDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	if i.entry.isDir() {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
