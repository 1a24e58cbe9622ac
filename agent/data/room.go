package data

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Room is how much of data there is, in bytes. Free is what programs that are not
// root can still write: used and free together are less than all.
type Room struct{ Used, Free, Total int64 }

// MeasureRoom returns the room of the file system mounted at dir.
func MeasureRoom(dir string) (Room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Room{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return Room{
		Used:  int64(s.Blocks-s.Bfree) * s.Bsize,
		Free:  int64(s.Bavail) * s.Bsize,
		Total: int64(s.Blocks) * s.Bsize,
	}, nil
}

// Problem says that data is full, at less than 2 % free, and what to do; it is
// empty otherwise. A node runs on: only then can room be made.
func (r Room) Problem() string {
	if r.Total == 0 || r.Free >= r.Total/50 {
		return ""
	}
	return fmt.Sprintf("data is full: %d MiB of %d MiB are free: remove images, volumes or logs, or use a larger disk", r.Free/mib, r.Total/mib)
}
