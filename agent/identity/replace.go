package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// replace gives a file new contents so that a power cut leaves the old file or
// the new one. On return the new one is on the medium.
func replace(name string, contents []byte, mode os.FileMode) error {
	temporary := name + ".new"
	// One left by a power cut could have another mode.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(contents)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
