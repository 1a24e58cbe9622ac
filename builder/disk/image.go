package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
)

const (
	maxPartitions = 128
	maxDiskBytes  = 1 << 50
)

// Image is a disk image file.
type Image struct {
	file       *os.File
	id         string
	size       int64
	partitions []Partition
}

// Create makes a sparse image file with the layout's partition table and empty
// partitions. The file must not exist.
func Create(path string, l Layout) (*Image, error) {
	placed, size, err := l.Place()
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	// Not what the umask makes of 0666: an image may hold a join token.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create disk image: %w", err)
	}
	image := &Image{file: file, id: upper(l.DiskID()), size: size, partitions: placed}
	write := image.writeTable
	if l.MBR {
		image.id = fmt.Sprintf("%08X", l.mbrID())
		write = func() error { return image.writeMBR(l.mbrID()) }
	}
	if err := errors.Join(file.Truncate(size), write()); err != nil {
		file.Close()
		os.Remove(path)
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return image, nil
}

func (i *Image) writeTable() error {
	table := &gpt.Table{
		LogicalSectorSize: sectorBytes, PhysicalSectorSize: sectorBytes,
		GUID: i.id, ProtectiveMBR: true,
	}
	for _, p := range i.partitions {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: p.Number, Name: p.Name, Type: gpt.Type(p.Type), GUID: p.ID,
			Start: uint64(p.Offset / sectorBytes),
			End:   uint64((p.Offset+p.Size)/sectorBytes - 1),
		})
	}
	return table.Write(storage{i.file}, i.size)
}

// Open opens an image or a block device for reading.
func Open(path string) (*Image, error) { return open(path, os.O_RDONLY) }

func open(path string, flag int) (*Image, error) {
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open disk image: %w", err)
	}
	image := &Image{file: file}
	if err := image.readTable(); err != nil {
		file.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return image, nil
}

func (i *Image) readTable() error {
	var err error
	if i.size, err = i.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	i.id, i.partitions, err = readTable(storage{i.file}, i.size)
	return err
}

// readTable reads the partition table of a disk of size bytes.
func readTable(r backend.File, size int64) (id string, partitions []Partition, err error) {
	if size < 2*alignment || size%sectorBytes != 0 {
		return "", nil, fmt.Errorf("%d bytes are no disk image: is the file complete?", size)
	}
	if isMBR, err := hasMBR(r); err != nil || isMBR {
		if err != nil {
			return "", nil, err
		}
		return readMBR(r, size)
	}
	// The library allocates what the header asks for, so look at it first:
	// at both places, because it goes to the second when the first is damaged.
	for _, at := range []int64{sectorBytes, size - sectorBytes} {
		if err := checkTableSize(r, at); err != nil {
			return "", nil, err
		}
	}
	table, err := gpt.Read(r, sectorBytes, sectorBytes)
	if err != nil {
		return "", nil, fmt.Errorf("read partition table: %w", err)
	}
	last := uint64(size/sectorBytes) - 1
	for _, p := range table.Partitions {
		if p.Start > p.End || p.End > last {
			return "", nil, fmt.Errorf("partition %d (%s) is at sectors %d to %d of %d: is the file complete?",
				p.Index, p.Name, p.Start, p.End, last+1)
		}
		partitions = append(partitions, Partition{
			Number: p.Index, Name: p.Name, Type: string(p.Type), ID: p.GUID,
			Offset: int64(p.Start) * sectorBytes,
			Size:   int64(p.End-p.Start+1) * sectorBytes,
		})
	}
	return table.GUID, partitions, nil
}

// checkTableSize refuses a GPT header (UEFI 2.10, section 5.3.2) with another
// number or size of entries than all disks have. What is no header passes.
func checkTableSize(r io.ReaderAt, at int64) error {
	b := make([]byte, 92)
	if _, err := r.ReadAt(b, at); err != nil {
		return fmt.Errorf("read partition table at byte %d: %w", at, err)
	}
	count, size := binary.LittleEndian.Uint32(b[80:]), binary.LittleEndian.Uint32(b[84:])
	if string(b[:8]) == "EFI PART" && (count == 0 || count > maxPartitions || size != gpt.PartitionEntrySize) {
		return fmt.Errorf("partition table at byte %d has %d entries of %d bytes: up to %d of %d are expected",
			at, count, size, maxPartitions, gpt.PartitionEntrySize)
	}
	return nil
}

// Close closes the image file. It does not wait for the data to be on disk.
func (i *Image) Close() error { return i.file.Close() }

// ID returns the identifier of the disk: an upper case GUID, or eight digits of an MBR.
func (i *Image) ID() string { return i.id }

// Size returns the size of the disk in bytes.
func (i *Image) Size() int64 { return i.size }

// Partitions returns the partitions in the order of the table.
func (i *Image) Partitions() []Partition { return i.partitions }

// Partition returns the partition of that name.
func (i *Image) Partition(name string) (Partition, error) {
	var names []string
	for _, p := range i.partitions {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Partition{}, fmt.Errorf("%s has no partition %s, only %s", i.file.Name(), name, strings.Join(names, ", "))
}

// Reader reads a partition.
func (i *Image) Reader(p Partition) *io.SectionReader {
	return io.NewSectionReader(i.file, p.Offset, p.Size)
}

// Fill copies the contents of a file to the start of the named partition of an
// image made by Create. What is a hole in the file is not written.
func (i *Image) Fill(ctx context.Context, name string, contents *os.File) error {
	p, err := i.Partition(name)
	if err != nil {
		return err
	}
	info, err := contents.Stat()
	if err != nil {
		return err
	}
	if info.Size() > p.Size {
		return fmt.Errorf("fill partition %s: %s has %d bytes, the partition %d: make it larger in the board file",
			name, contents.Name(), info.Size(), p.Size)
	}
	if err := copyData(ctx, i.file, p.Offset, contents, info.Size()); err != nil {
		return fmt.Errorf("fill partition %s with %s: %w", name, contents.Name(), err)
	}
	return nil
}

// storage gives the library a file without Sync: it would wait for the disk
// six times, and an image that is being made is worth nothing after a crash.
type storage struct{ file *os.File }

var _ backend.Storage = storage{}

func (s storage) Stat() (os.FileInfo, error)               { return s.file.Stat() }
func (s storage) Read(b []byte) (int, error)               { return s.file.Read(b) }
func (s storage) ReadAt(b []byte, at int64) (int, error)   { return s.file.ReadAt(b, at) }
func (s storage) WriteAt(b []byte, at int64) (int, error)  { return s.file.WriteAt(b, at) }
func (s storage) Seek(at int64, whence int) (int64, error) { return s.file.Seek(at, whence) }
func (s storage) Close() error                             { return nil } // its opener closes it
func (s storage) Sys() (*os.File, error)                   { return nil, backend.ErrNotSuitable }
func (s storage) Writable() (backend.WritableFile, error)  { return s, nil }
func (s storage) Path() string                             { return s.file.Name() }

// readerStorage is a disk of size bytes as the library wants it for reading.
type readerStorage struct {
	io.ReaderAt
	size int64
}

func (readerStorage) Stat() (os.FileInfo, error) { return nil, errors.ErrUnsupported }
func (readerStorage) Read([]byte) (int, error)   { return 0, errors.ErrUnsupported }
func (readerStorage) Close() error               { return nil }
func (s readerStorage) Seek(at int64, whence int) (int64, error) {
	if whence != io.SeekEnd || at != 0 {
		return 0, errors.ErrUnsupported
	}
	return s.size, nil
}

func upper(id uuid.UUID) string { return upperText(id.String()) }

func upperText(id string) string { return strings.ToUpper(id) }
