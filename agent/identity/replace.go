package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is one to be written.
type file struct {
	name     string
	contents []byte
	mode     os.FileMode
}

// replace puts files, all of one folder, in the place of those that have their
// names. After a power cut each is the old or the new one. They reach the medium
// together: waiting for it is what takes the time.
func replace(files ...file) error {
	if len(files) == 0 {
		return nil
	}
	dir, err := os.Open(filepath.Dir(files[0].name))
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, f := range files {
		if err := f.write(f.temporary()); err != nil {
			return fmt.Errorf("write %s: %w", f.temporary(), err)
		}
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("write to %s: %w", dir.Name(), err)
	}
	for _, f := range files {
		if err := os.Rename(f.temporary(), f.name); err != nil {
			return err
		}
	}
	return dir.Sync()
}

func (f file) temporary() string { return f.name + ".new" }

func (f file) write(name string) error {
	// One left by a power cut could have another mode.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = w.Write(f.contents)
	return errors.Join(err, w.Chmod(f.mode), w.Close())
}
