package blockdev

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AddPartition tells the kernel of a partition that was written to the table of
// an open disk (BLKPG). Unlike RereadPartitions it works while other partitions
// of the disk are in use.
func AddPartition(disk *os.File, number int, startBytes, sizeBytes int64) error {
	return blkpg(disk, unix.BLKPG_ADD_PARTITION, "add", number, startBytes, sizeBytes)
}

// ResizePartition tells the kernel the new size of a partition, which may be mounted.
func ResizePartition(disk *os.File, number int, startBytes, sizeBytes int64) error {
	return blkpg(disk, unix.BLKPG_RESIZE_PARTITION, "resize", number, startBytes, sizeBytes)
}

func blkpg(disk *os.File, op int32, verb string, number int, startBytes, sizeBytes int64) error {
	part := unix.BlkpgPartition{Start: startBytes, Length: sizeBytes, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(&part)
	if errno != 0 {
		return fmt.Errorf("%s partition %d of %s (start %d, %d bytes) in the kernel: %w",
			verb, number, disk.Name(), startBytes, sizeBytes, errno)
	}
	return nil
}

// RereadPartitions makes the kernel read a disk's partition table again. It
// fails with EBUSY while any partition of the disk is in use.
func RereadPartitions(disk *os.File) error {
	if err := ioctl(disk, unix.BLKRRPART, nil); err != nil {
		return fmt.Errorf("reread partition table of %s: %w", disk.Name(), err)
	}
	return nil
}

// FlushBuffers writes out and drops what the kernel caches of a device, so
// that the next read comes from the medium.
func FlushBuffers(dev *os.File) error {
	if err := ioctl(dev, unix.BLKFLSBUF, nil); err != nil {
		return fmt.Errorf("drop buffers of %s: %w", dev.Name(), err)
	}
	return nil
}

// SizeBytes returns the size of an open block device.
func SizeBytes(dev *os.File) (int64, error) {
	var n uint64
	if err := ioctl(dev, unix.BLKGETSIZE64, unsafe.Pointer(&n)); err != nil {
		return 0, fmt.Errorf("size of %s: %w", dev.Name(), err)
	}
	return int64(n), nil
}

// SectorBytes returns the logical sector size of an open block device.
func SectorBytes(dev *os.File) (int, error) {
	var n int32
	if err := ioctl(dev, unix.BLKSSZGET, unsafe.Pointer(&n)); err != nil {
		return 0, fmt.Errorf("sector size of %s: %w", dev.Name(), err)
	}
	return int(n), nil
}

func ioctl(f *os.File, op uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), op, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
