// Package disk composes raw disk images and reads them back: a GUID partition
// table or an MBR, the FAT32 file system of partition boot, and contents of any other
// partition. Images are sparse files: what nobody wrote is a hole.
//
// The same inputs give the same bytes. Identifiers are derived from a seed,
// times are passed in, and nothing depends on the host's clock, time zone,
// umask or environment. Root, loop devices and mounts are not needed.
//
// What the partitions are for and how large they are is left to the caller.
package disk

import (
	"fmt"
	"unicode/utf8"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
)

// Partition names of every Skerry disk.
const (
	Boot  = "boot"
	SlotA = "slot-a"
	SlotB = "slot-b"
	Data  = "data" // made at first boot
)

// Partition types (UEFI 2.10, section 5.3.3; Discoverable Partitions Specification).
const (
	EFISystem = string(gpt.EFISystemPartition) // firmware looks for boot programs here
	LinuxData = string(gpt.LinuxFilesystem)    // nothing but our own programs looks here
)

const (
	sectorBytes = 512
	// alignment of partitions, and room for the partition table at both ends.
	// 1 MiB is a multiple of the erase block of most flash media.
	alignment = 1 << 20
)

// Layout describes the partitions of a disk in the order of their numbers.
type Layout struct {
	Seed       uuid.UUID // the identifiers of disk and partitions are derived from it
	MBR        bool      // an MBR and no GPT
	Start      int64     // of the first partition in bytes, a multiple of 1 MiB; 1 MiB if 0
	Partitions []Spec
}

// Spec describes one partition.
type Spec struct {
	Name string // up to 36 characters, unique
	Type string // GUID
	Size int64  // bytes, a multiple of 1 MiB
}

// Partition is a partition where it is on a disk.
type Partition struct {
	Number int // 1 is the first
	Name   string
	Type   string // GUID in upper case; in an MBR as in 0x0C
	ID     string // GUID in upper case; in an MBR the disk's and the number, as in 1234ABCD-01
	Offset int64  // bytes from the start of the disk
	Size   int64  // bytes
}

// DiskID returns the identifier of a disk with this layout.
func (l Layout) DiskID() uuid.UUID { return uuid.NewSHA1(l.Seed, []byte("disk")) }

// Place returns where the partitions are and the size of the disk, in bytes: the
// end of the last partition, and 1 MiB for the backup table where there is one.
func (l Layout) Place() ([]Partition, int64, error) {
	if len(l.Partitions) == 0 || len(l.Partitions) > maxPartitions {
		return nil, 0, fmt.Errorf("disk layout has %d partitions: 1 to %d fit in the table", len(l.Partitions), maxPartitions)
	}
	names := map[string]bool{}
	var placed []Partition
	end := max(alignment, l.Start)
	if end%alignment != 0 || end > maxDiskBytes {
		return nil, 0, fmt.Errorf("disk layout starts at byte %d: a multiple of 1 MiB is needed", end)
	}
	for i, s := range l.Partitions {
		if n := utf8.RuneCountInString(s.Name); n == 0 || n > 36 || names[s.Name] {
			return nil, 0, fmt.Errorf("partition %d is called %q: a name has 1 to 36 characters and is used once", i+1, s.Name)
		}
		names[s.Name] = true
		if s.Size <= 0 || s.Size%alignment != 0 || s.Size > maxDiskBytes-end {
			return nil, 0, fmt.Errorf("partition %s has %d bytes: a multiple of 1 MiB on a disk of at most %d is needed",
				s.Name, s.Size, int64(maxDiskBytes))
		}
		kind, err := uuid.Parse(s.Type)
		if err != nil {
			return nil, 0, fmt.Errorf("type of partition %s: %w", s.Name, err)
		}
		placed = append(placed, Partition{
			Number: i + 1, Name: s.Name,
			Type:   upper(kind),
			ID:     upper(uuid.NewSHA1(l.Seed, []byte("partition "+s.Name))),
			Offset: end, Size: s.Size,
		})
		end += s.Size
	}
	if l.MBR {
		return placed, end, l.placeMBR(placed, end)
	}
	return placed, end + alignment, nil
}
