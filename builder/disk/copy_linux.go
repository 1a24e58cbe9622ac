package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// NextData returns the first part of f at or after from that is no hole, or an
// empty one at size. On systems that do not tell, all is data.
func NextData(f *os.File, from, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // only a hole is left
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // a file system without holes
		return from, size, nil
	case err != nil:
		return 0, 0, &os.PathError{Op: "seek data", Path: f.Name(), Err: err}
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek hole", Path: f.Name(), Err: err}
	}
	return min(start, size), min(end, size), nil
}

// copyRange copies up to size bytes within the kernel: a file system with
// shared extents copies nothing at all.
func copyRange(dst *os.File, to int64, src *os.File, from, size int64) (int64, error) {
	n, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(size), 0)
	for _, e := range []error{unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM} {
		if errors.Is(err, e) {
			return copyBytes(dst, to, src, from, size)
		}
	}
	if errors.Is(err, unix.EINTR) {
		return copyBytes(dst, to, src, from, size)
	}
	if err != nil {
		return 0, &os.PathError{Op: "copy_file_range", Path: dst.Name(), Err: err}
	}
	return int64(n), nil
}
