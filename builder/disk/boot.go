package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	files, err := bootFiles(t)
	if err != nil {
		return fmt.Errorf("make FAT32 file system %s: %w", o.Label, err)
	}
	err = fat.Make(ctx, i.file, p.Offset, p.Size, files, o)
	if errors.Is(err, fat.ErrFull) {
		return fmt.Errorf("%w: make the boot partition larger in the board file", err)
	}
	return err
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
	p, err := i.Partition(Boot)
	if err != nil {
		return err
	}
	v, err := i.Boot()
	if err != nil {
		return err
	}
	if err := v.Replace(io.NewOffsetWriter(i.file, p.Offset), name, contents, modified); err != nil {
		return err
	}
	return i.Close()
}
