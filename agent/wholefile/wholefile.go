// Package wholefile puts files in the place of others so that after a power cut
// each is the old or the new one, and never a part of one.
package wholefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Suffix is what the name of a file ends in until it is complete.
const Suffix = ".new"

// File is one to be written.
type File struct {
	Name     string
	Contents []byte
	Mode     os.FileMode // which no mask changes
}

// Replace puts files, all of one file system, in the place of those that have
// their names. They reach the medium together: waiting for it is what takes the
// time.
func Replace(files ...File) error {
	if len(files) == 0 {
		return nil
	}
	for _, f := range files {
		if err := f.write(f.temporary()); err != nil {
			return fmt.Errorf("write %s: %w", f.temporary(), err)
		}
	}
	first := filepath.Dir(files[0].Name)
	if err := flush(first, unix.Syncfs); err != nil {
		return fmt.Errorf("write to %s: %w", first, err)
	}
	folders := map[string]bool{}
	for _, f := range files {
		if err := os.Rename(f.temporary(), f.Name); err != nil {
			return err
		}
		folders[filepath.Dir(f.Name)] = true
	}
	for folder := range folders {
		if err := flush(folder, unix.Fsync); err != nil {
			return fmt.Errorf("write to %s: %w", folder, err)
		}
	}
	return nil
}

func flush(dir string, sync func(fd int) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return sync(int(f.Fd()))
}

func (f File) temporary() string { return f.Name + Suffix }

func (f File) write(name string) error {
	// One left by a power cut could have another mode.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode)
	if err != nil {
		return err
	}
	_, err = w.Write(f.Contents)
	return errors.Join(err, w.Chmod(f.Mode), w.Close())
}
