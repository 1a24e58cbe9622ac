package debian

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// store is the cache on disk. Files appear in it complete and by rename.
//
//	deb/SHA256.deb         packages
//	index/SHA256.VERSION   what is needed of a Packages file, by its hash
//	release/ID             InRelease files, by mirror and suite
//	tmp/                   what is being fetched
type store struct{ dir string }

// abandoned is the age from which a file in tmp belongs to no running build.
const abandoned = 24 * time.Hour

func openStore(dir string) (store, error) {
	if dir == "" {
		return store{}, errors.New("package cache: no folder given")
	}
	s := store{dir: dir}
	for _, sub := range []string{"deb", "index", "release", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return store{}, fmt.Errorf("package cache: %w", err)
		}
	}
	return s, nil
}

// sweep removes what builds that were killed have left, by the file system's
// own clock.
func (s store) sweep(now time.Time) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return // nothing depends on it
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > abandoned {
			os.Remove(filepath.Join(s.dir, "tmp", e.Name()))
		}
	}
}

func (s store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// temporary makes a file for use, which either fails, and the file is gone, or
// keeps it under its name in the cache or removes it.
func (s store) temporary(use func(f *os.File) error) error {
	f, err := os.CreateTemp(s.path("tmp"), "part-*")
	if err != nil {
		return fmt.Errorf("package cache: %w", err)
	}
	defer f.Close()
	err = use(f)
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// keep gives a temporary file its name in the cache.
func (s store) keep(f *os.File, path string) error {
	// Without the sync, a crash after the rename may leave an empty file
	// under the final name.
	err := f.Sync()
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("package cache: %w", err)
	}
	return nil
}

// put makes the file at path from what fill writes, or nothing if fill fails.
func (s store) put(path string, fill func(w io.Writer) error) error {
	return s.temporary(func(f *os.File) error {
		if err := fill(f); err != nil {
			return err
		}
		return s.keep(f, path)
	})
}

// read returns a file's contents, nil if there is none, and when it was put
// there.
func (s store) read(path string) ([]byte, time.Time, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("package cache: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("package cache: %w", err)
	}
	return b, info.ModTime(), nil
}
