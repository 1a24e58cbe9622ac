package main

import (
	"context"
	"os"
	"path/filepath"
)

// floor is mkfs.erofs by itself: the part of a build that nothing can be
// faster than.
type floor struct {
	*session
	root, image string
}

// newFloor unpacks the root of a slot image, which begins with its file system.
func newFloor(ctx context.Context, s *session, slot string) (*floor, error) {
	f := &floor{s, filepath.Join(s.work, "root"), filepath.Join(s.work, "root.erofs")}
	return f, s.unpack(ctx, slot, f.root)
}

// unpack writes the files of a slot image's root below dir.
func (s *session) unpack(ctx context.Context, slot, dir string) error {
	_, err := s.command(ctx, s.work, []string{"LC_ALL=C"}, "fsck.erofs", "--extract="+dir, "--no-preserve", slot)
	return err
}

// make makes the root's file system as package erofs does, and returns its size
// in bytes.
func (f *floor) make(ctx context.Context) (usage, int64, error) {
	u, err := f.command(ctx, f.work, []string{"LC_ALL=C"}, "mkfs.erofs", "-zlz4", "-T", "0",
		"-U", "00000000-0000-4000-8000-000000000000", "-x-1", "--all-root", "--quiet", f.image, f.root)
	if err != nil {
		return u, 0, err
	}
	info, err := os.Stat(f.image)
	if err != nil {
		return u, 0, err
	}
	return u, info.Size(), os.Remove(f.image)
}
