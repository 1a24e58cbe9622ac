package data

import (
	"context"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// Disk is a disk or partition open for reading and writing.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// System is what is asked of the kernel.
type System interface {
	// Wait returns the kernel's devices once enough says so.
	Wait(ctx context.Context, enough func([]blockdev.Device) bool) ([]blockdev.Device, error)
	Open(node string) (Disk, error)
	// AddPartition and ResizePartition tell the kernel of a partition of a disk; sizes in bytes.
	AddPartition(disk string, number int, start, size int64) error
	ResizePartition(disk string, number int, start, size int64) error
	// ForgetPartitions has the kernel find that a disk has no partitions any more.
	ForgetPartitions(disk string) error
	// Mount mounts an ext4 file system.
	Mount(node, dir string) error
	// GrowMounted grows a mounted ext4 file system to a number of its blocks.
	GrowMounted(dir string, blocks int64) error
}

// Linux is the running kernel.
type Linux struct {
	Sysfs  blockdev.Sysfs
	Events <-chan struct{} // ticks when a uevent came; may be nil
}

// Wait implements [System].
func (l Linux) Wait(ctx context.Context, enough func([]blockdev.Device) bool) ([]blockdev.Device, error) {
	return l.Sysfs.Wait(ctx, l.Events, enough)
}

// Open implements [System].
func (Linux) Open(node string) (Disk, error) { return os.OpenFile(node, os.O_RDWR, 0) }

// AddPartition implements [System].
func (Linux) AddPartition(disk string, number int, start, size int64) error {
	return with(disk, func(f *os.File) error { return blockdev.AddPartition(f, number, start, size) })
}

// ResizePartition implements [System].
func (Linux) ResizePartition(disk string, number int, start, size int64) error {
	return with(disk, func(f *os.File) error { return blockdev.ResizePartition(f, number, start, size) })
}

// ForgetPartitions implements [System].
func (Linux) ForgetPartitions(disk string) error { return with(disk, blockdev.RereadPartitions) }

func with(node string, do func(*os.File) error) error {
	f, err := os.Open(node)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// mountOptions spare memory cards. What a program flushes is on the medium at
// once; what it does not, and every change of a file's time, would otherwise
// cost a commit of the journal, some 20 KiB, every five seconds. A file system
// found damaged turns read-only rather than going on to damage itself.
const mountOptions = "errors=remount-ro,commit=30"

// Mount implements [System]. Device nodes and set-user-ID programs in
// container images are not affected by nodev and nosuid: containers get
// mounts of their own over what lies on data. Times of files are written with
// the files' other metadata, or once a day.
func (Linux) Mount(node, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount(node, dir, "ext4", unix.MS_NOATIME|unix.MS_LAZYTIME|unix.MS_NODEV|unix.MS_NOSUID, mountOptions)
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", node, dir, err)
	}
	return nil
}

// GrowMounted implements [System].
func (Linux) GrowMounted(dir string, blocks int64) error {
	const resizeFS = 0x40086610 // EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64)
	return with(dir, func(f *os.File) error {
		n := uint64(blocks)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), resizeFS, uintptr(unsafe.Pointer(&n))); errno != 0 {
			return fmt.Errorf("grow the file system at %s to %d blocks: %w", dir, blocks, errno)
		}
		return nil
	})
}
