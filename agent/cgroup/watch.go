package cgroup

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fileWatch tells when a file was modified. The kernel notifies cgroup.events
// this way, and a plain file behaves the same.
type fileWatch struct {
	inotify *os.File
	buf     [unix.SizeofInotifyEvent * 16]byte
	unhook  func() bool
}

// watch begins to watch path; it ends with ctx.
func watch(ctx context.Context, path string) (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_DELETE_SELF); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	w := &fileWatch{inotify: f}
	w.unhook = context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	return w, nil
}

// next returns after the next change. What happened is not told: the caller
// reads the file.
func (w *fileWatch) next() error {
	_, err := w.inotify.Read(w.buf[:])
	return err
}

func (w *fileWatch) Close() error {
	w.unhook()
	return w.inotify.Close()
}
