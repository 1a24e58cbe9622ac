package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stage is a folder in the output folder in which a release is put together
// before its files get their names. Whoever uses it holds its lock, which the
// kernel drops when a build dies: the next build knows by it what to remove.
type stage struct {
	output string // absolute
	dir    string
	lock   *os.File
}

const stagePrefix = ".skerry-"

// newStage makes output and a stage in it, and removes the stages of builds
// that were killed.
func newStage(ctx context.Context, output string) (*stage, error) {
	output, err := filepath.Abs(output)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return nil, err
	}
	// Under this lock, nobody takes a stage for abandoned that has no lock yet.
	unlock, err := lockFolder(ctx, output)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sweepStages(output)
	dir, err := os.MkdirTemp(output, stagePrefix)
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	_ = tryLock(lock) // without it, on some network file system, nobody else can lock it either
	return &stage{output: output, dir: dir, lock: lock}, nil
}

// close removes the stage.
func (s *stage) close() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

// sweepStages removes the stages that nobody holds.
func sweepStages(output string) {
	entries, err := os.ReadDir(output)
	if err != nil {
		return // nothing depends on it
	}
	for _, e := range entries {
		// The folder may be anybody's: no more than what MkdirTemp makes is ours.
		number, ok := strings.CutPrefix(e.Name(), stagePrefix)
		if !ok || !e.IsDir() || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		dir := filepath.Join(output, e.Name())
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if tryLock(lock) == nil {
			os.RemoveAll(dir)
		}
		lock.Close()
	}
}

// publish gives the files of the stage their names in the output folder, in
// this order. If one of them cannot have its name, those before it are taken
// back, and what was there before is there again.
func (s *stage) publish(names []string) error {
	for _, name := range names {
		if info, err := os.Lstat(filepath.Join(s.output, name)); err == nil && info.IsDir() {
			return fmt.Errorf("publish %s: it is a folder: move it away", filepath.Join(s.output, name))
		}
	}
	former := filepath.Join(s.dir, "former")
	if err := os.Mkdir(former, 0o755); err != nil {
		return err
	}
	var done []string
	for _, name := range names {
		err := keepFormer(filepath.Join(s.output, name), filepath.Join(former, name))
		if err == nil {
			err = os.Rename(filepath.Join(s.dir, name), filepath.Join(s.output, name))
		}
		if err == nil {
			done = append(done, name)
			continue
		}
		err = fmt.Errorf("publish %s: %w", name, err)
		if left := s.takeBack(append(done, name), former); len(left) > 0 {
			return fmt.Errorf("%w: it could not be undone: %s of %s are of this build, all else is as before: build again",
				err, strings.Join(left, ", "), s.output)
		}
		return fmt.Errorf("%w: the output folder is as before", err)
	}
	return nil
}

// takeBack restores former files and removes new ones. It returns the names
// for which that failed.
func (s *stage) takeBack(names []string, former string) (left []string) {
	for _, name := range names {
		final := filepath.Join(s.output, name)
		err := os.Rename(filepath.Join(former, name), final)
		if errors.Is(err, fs.ErrNotExist) {
			if _, staged := os.Lstat(filepath.Join(s.dir, name)); staged == nil {
				continue // it never got its name
			}
			err = os.Remove(final)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, name)
		}
	}
	return left
}

// keepFormer gives a file that is about to be replaced a second name. Where
// there are no hard links, as on FAT, it loses its first.
func keepFormer(name, former string) error {
	err := os.Link(name, former)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		err = os.Rename(name, former)
	}
	return err
}

// lockFolder waits until no other builder changes what it has in a folder.
func lockFolder(ctx context.Context, dir string) (unlock func(), err error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := tryLock(lock)
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			// A folder on NFS cannot be locked (flock(2)): there, two builds
			// at the same time can lose each other's checksums.
			return func() { lock.Close() }, nil
		}
		select {
		case <-ctx.Done():
			lock.Close()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
