package flash

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// node is a block device, or a file that stands in for one.
type node struct {
	file    *os.File
	size    int64
	block   bool
	direct  bool
	noZero  bool
	aligned []byte // memory that the kernel reads and writes by itself
}

// alignBytes is a multiple of the sectors of all disks there are.
const alignBytes = 4096

// OpenDevice opens a disk to write it. While it is open nobody else can mount
// it or open it in the same way: O_EXCL, of a block device, fails if a partition
// of it is in use. With shared that is passed over.
//
// Reads and writes do not go through the page cache (O_DIRECT). Where that is
// not possible, Uncache syncs and drops the cache (POSIX_FADV_DONTNEED).
func OpenDevice(name string, shared bool) (interface {
	Device
	io.Closer
}, error) {
	flags := os.O_RDWR | unix.O_DIRECT | unix.O_EXCL
	file, err := os.OpenFile(name, flags, 0)
	direct := true
	if errors.Is(err, unix.EBUSY) && shared {
		flags &^= unix.O_EXCL
		file, err = os.OpenFile(name, flags, 0)
	}
	if errors.Is(err, unix.EINVAL) { // a file system without O_DIRECT
		file, err = os.OpenFile(name, flags&^unix.O_DIRECT, 0)
		direct = false
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, errors.New("something else uses it: close it, or pass --force")
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: run it with sudo", err)
	case err != nil:
		return nil, err
	}
	n := &node{file: file, direct: direct}
	info, err := file.Stat()
	if err == nil {
		n.block = info.Mode()&os.ModeDevice != 0
		n.size, err = file.Seek(0, io.SeekEnd)
	}
	if err == nil && direct {
		n.aligned, err = unix.Mmap(-1, 0, chunkBytes+2*alignBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return n, nil
}

func (n *node) Size() int64 { return n.size }
func (n *node) Sync() error { return n.file.Sync() }

// Close closes the disk and has the kernel read its new partition table.
func (n *node) Close() error {
	if n.block {
		// It fails if a partition is mounted, which --force allows.
		_ = unix.IoctlSetInt(int(n.file.Fd()), unix.BLKRRPART, 0)
	}
	if n.aligned != nil {
		_ = unix.Munmap(n.aligned)
		n.aligned = nil
	}
	return n.file.Close()
}

// Zero punches a hole: of a block device, the kernel succeeds only if the
// device has a command for it that leaves zeros for certain.
func (n *node) Zero(at, size int64) (bool, error) {
	if n.noZero || at%alignBytes != 0 || size%alignBytes != 0 {
		return false, nil
	}
	if err := unix.Fallocate(int(n.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size); err != nil {
		n.noZero = true // whatever the reason, there is the other way
		return false, nil
	}
	return true, nil
}

func (n *node) Uncache() error {
	if err := n.file.Sync(); err != nil || n.direct {
		return err
	}
	return unix.Fadvise(int(n.file.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// window returns the aligned part of the disk around up to len(b) bytes at a
// place, and how many of them are in it.
func (n *node) window(b []byte, at int64) (from, to int64, bytes int) {
	bytes = min(len(b), chunkBytes)
	from = at / alignBytes * alignBytes
	to = min((at+int64(bytes)+alignBytes-1)/alignBytes*alignBytes, n.size)
	return from, to, bytes
}

func (n *node) ReadAt(b []byte, at int64) (int, error) {
	if !n.direct {
		return n.file.ReadAt(b, at)
	}
	done := 0
	for done < len(b) {
		from, to, count := n.window(b[done:], at)
		if at+int64(count) > n.size {
			return done, io.EOF
		}
		if _, err := n.file.ReadAt(n.aligned[:to-from], from); err != nil {
			return done, err
		}
		copy(b[done:done+count], n.aligned[at-from:])
		done, at = done+count, at+int64(count)
	}
	return done, nil
}

func (n *node) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > n.size {
		return 0, fmt.Errorf("%d bytes at %d are behind the end of the disk: %w", len(b), at, io.ErrShortWrite)
	}
	if !n.direct {
		return n.file.WriteAt(b, at)
	}
	done := 0
	for done < len(b) {
		from, to, count := n.window(b[done:], at)
		if from != at || to != at+int64(count) {
			if _, err := n.file.ReadAt(n.aligned[:to-from], from); err != nil {
				return done, err
			}
		}
		copy(n.aligned[at-from:], b[done:done+count])
		if _, err := n.file.WriteAt(n.aligned[:to-from], from); err != nil {
			return done, err
		}
		done, at = done+count, at+int64(count)
	}
	return done, nil
}
