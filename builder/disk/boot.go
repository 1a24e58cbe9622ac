package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
)

// MakeBoot makes the FAT32 file system of partition boot out of t, in an image
// made by Create. Permissions are dropped; symbolic links are an error.
func (i *Image) MakeBoot(ctx context.Context, t *tree.Tree, o fat.Options) error {
	p, err := i.Partition(Boot)
	if err != nil {
		return err
	}
	err = MakeFAT(ctx, i.file, p.Offset, p.Size, t, o)
	if errors.Is(err, fat.ErrFull) {
		return fmt.Errorf("%w: make the boot partition larger in the board file", err)
	}
	return err
}

// MakeFAT makes a FAT32 file system of size bytes out of t, at an offset of w,
// which has to be a hole or zeros there. Permissions are dropped; symbolic links
// are an error.
func MakeFAT(ctx context.Context, w io.WriterAt, offset, size int64, t *tree.Tree, o fat.Options) error {
	files, err := bootFiles(t)
	if err != nil {
		return fmt.Errorf("make FAT32 file system %s: %w", o.Label, err)
	}
	return fat.Make(ctx, w, offset, size, files, o)
}

func bootFiles(t *tree.Tree) ([]fat.File, error) {
	var files []fat.File
	for _, p := range t.Paths() {
		f, _ := t.Get(p)
		if f.Mode.IsDir() {
			files = append(files, fat.File{Path: p, Dir: true})
			continue
		}
		if !f.Mode.IsRegular() {
			return nil, fmt.Errorf("add %s: FAT holds only files and directories", p)
		}
		size, err := f.Size()
		if err != nil {
			return nil, err
		}
		files = append(files, fat.File{Path: p, Size: size, Open: f.Open})
	}
	return files, nil
}

// Boot opens the file system of partition boot.
func (i *Image) Boot() (*fat.FS, error) {
	p, err := i.Partition(Boot)
	if err != nil {
		return nil, err
	}
	v, err := fat.Open(i.Reader(p), p.Size)
	if err == nil {
		err = v.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("partition boot of %s: %w", i.file.Name(), err)
	}
	return v, nil
}

// WriteBootFile puts a file on partition boot of an existing image or disk,
// over what has that name. Its directory must exist. What else is there keeps
// its contents and times.
func WriteBootFile(image, name string, contents []byte, modified time.Time) error {
	if err := writeBootFile(image, name, contents, modified); err != nil {
		return fmt.Errorf("write %s to partition boot of %s: %w", name, image, err)
	}
	return nil
}

func writeBootFile(image, name string, contents []byte, modified time.Time) error {
	i, err := open(image, os.O_RDWR)
	if err != nil {
		return err
	}
	defer i.Close()
	_, err = EditBootFile(i.file, i.size, name, func([]byte) ([]byte, error) { return contents, nil }, modified)
	if err != nil {
		return err
	}
	return i.Close()
}

// ReadWriterAt is a disk, or what stands for one.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// maxEditBytes bounds the file that EditBootFile reads.
const maxEditBytes = 1 << 20

// EditBootFile replaces a file on partition boot of a disk of size bytes by what
// edit makes of it, and returns that. edit gets nil if there is no such file.
func EditBootFile(rw ReadWriterAt, size int64, name string, edit func(old []byte) ([]byte, error), modified time.Time) ([]byte, error) {
	v, p, err := bootOf(rw, size)
	if err != nil {
		return nil, err
	}
	old, err := readSmall(v, name)
	if err != nil {
		return nil, err
	}
	contents, err := edit(old)
	if err != nil {
		return nil, err
	}
	return contents, v.Replace(io.NewOffsetWriter(rw, p.Offset), name, contents, modified)
}

// ReadBootFile reads a file of partition boot of a disk of size bytes; it is nil
// if it is not there.
func ReadBootFile(r io.ReaderAt, size int64, name string) ([]byte, error) {
	v, _, err := bootOf(r, size)
	if err != nil {
		return nil, err
	}
	return readSmall(v, name)
}

// bootOf finds and opens the file system of partition boot.
func bootOf(r io.ReaderAt, size int64) (*fat.FS, Partition, error) {
	_, partitions, err := readTable(readerStorage{r, size}, size)
	if err != nil {
		return nil, Partition{}, err
	}
	n := slices.IndexFunc(partitions, func(p Partition) bool { return p.Name == Boot })
	if n < 0 {
		return nil, Partition{}, errors.New("it has no partition boot")
	}
	p := partitions[n]
	v, err := fat.Open(io.NewSectionReader(r, p.Offset, p.Size), p.Size)
	if err == nil {
		err = v.Check()
	}
	return v, p, err
}

// readSmall reads a file, which is nil if it is not there.
func readSmall(v *fat.FS, name string) ([]byte, error) {
	info, err := v.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("a directory of that name is there")
	case info.Size() > maxEditBytes:
		return nil, fmt.Errorf("the one that is there has %d bytes", info.Size())
	}
	return v.ReadFile(name)
}
