package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

const (
	mbrPartitions = 4
	mbrIDAt       = 440
	// An MBR counts sectors in 32 bits.
	mbrMaxBytes = 1 << 41
)

// mbrNames are the names of partitions, which an MBR has no place for, by their
// numbers: they are the same on every Skerry disk.
var mbrNames = [mbrPartitions]string{Boot, SlotA, SlotB, Data}

// mbrTypes are the types for those of a GPT.
var mbrTypes = map[string]mbr.Type{EFISystem: mbr.Fat32LBA, LinuxData: mbr.Linux}

// mbrType is a type as Partition has it.
func mbrType(t mbr.Type) string { return fmt.Sprintf("0x%02X", byte(t)) }

// mbrID is the identifier of a disk with this layout: never 0, which stands for none.
func (l Layout) mbrID() uint32 {
	return max(1, binary.LittleEndian.Uint32(l.DiskID().NodeID()))
}

// placeMBR fills in what an MBR says of partitions that were placed.
func (l Layout) placeMBR(placed []Partition, end int64) error {
	if len(placed) > mbrPartitions || end > mbrMaxBytes {
		return fmt.Errorf("disk layout has %d partitions up to byte %d: an MBR has room for %d up to %d",
			len(placed), end, mbrPartitions, int64(mbrMaxBytes))
	}
	for i := range placed {
		p := &placed[i]
		t, ok := mbrTypes[p.Type]
		if !ok || p.Name != mbrNames[i] {
			return fmt.Errorf("partition %d is %s of type %s: an MBR has no names, so it has to be %s of a type that MBRs know",
				i+1, p.Name, p.Type, mbrNames[i])
		}
		p.Type, p.ID = mbrType(t), fmt.Sprintf("%08X-%02X", l.mbrID(), i+1)
	}
	return nil
}

// writeMBR writes the table. Partition boot is the active one: where there is
// such a partition, U-Boot looks for boot.scr there only.
func (i *Image) writeMBR(id uint32) error {
	table := &mbr.Table{LogicalSectorSize: sectorBytes, PhysicalSectorSize: sectorBytes}
	for _, p := range i.partitions {
		var kind byte
		if _, err := fmt.Sscanf(p.Type, "0x%02X", &kind); err != nil {
			return err
		}
		table.Partitions = append(table.Partitions, &mbr.Partition{
			Index: p.Number, Bootable: p.Name == Boot, Type: mbr.Type(kind),
			Start: uint32(p.Offset / sectorBytes), Size: uint32(p.Size / sectorBytes),
			// Cylinders, heads and sectors cannot say where this is.
			StartHead: 0xfe, StartSector: 0xff, StartCylinder: 0xff,
			EndHead: 0xfe, EndSector: 0xff, EndCylinder: 0xff,
		})
	}
	if err := table.Write(storage{i.file}, i.size); err != nil {
		return err
	}
	// The library writes no identifier. Behind it are two bytes of zeros.
	_, err := i.file.WriteAt(binary.LittleEndian.AppendUint32(nil, id), mbrIDAt)
	return err
}

// hasMBR tells an MBR with partitions from the protective one of a GPT and from
// a disk without a table.
func hasMBR(r io.ReaderAt) (bool, error) {
	b := make([]byte, sectorBytes)
	if _, err := r.ReadAt(b, 0); err != nil {
		return false, fmt.Errorf("read partition table: %w", err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return false, nil
	}
	entries := b[446:510]
	for n := range mbrPartitions {
		if mbr.Type(entries[16*n+4]) == mbr.GPTProtective {
			return false, nil
		}
	}
	return !bytes.Equal(entries, make([]byte, len(entries))), nil
}

// readMBR reads the table of a disk of size bytes.
func readMBR(r backend.File, size int64) (id string, partitions []Partition, err error) {
	table, err := mbr.Read(r, sectorBytes, sectorBytes)
	if err != nil {
		return "", nil, fmt.Errorf("read partition table: %w", err)
	}
	for n, p := range table.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		found := Partition{
			Number: n + 1, Name: mbrNames[n], Type: mbrType(p.Type), ID: fmt.Sprintf("%s-%02X", upperText(table.UUID()), n+1),
			Offset: int64(p.Start) * sectorBytes, Size: int64(p.Size) * sectorBytes,
		}
		if found.Offset == 0 || found.Offset+found.Size > size {
			return "", nil, fmt.Errorf("partition %d (%s) is at sectors %d to %d of %d: is the file complete?",
				n+1, found.Name, p.Start, int64(p.Start)+int64(p.Size)-1, size/sectorBytes)
		}
		partitions = append(partitions, found)
	}
	if len(partitions) == 0 {
		return "", nil, errors.New("the partition table is empty")
	}
	return upperText(table.UUID()), partitions, nil
}

// WriteRaw writes bytes at an offset of an image made by Create, before its first
// partition and behind its first sector.
func (i *Image) WriteRaw(b []byte, offset int64) error {
	end := offset + int64(len(b))
	if offset < sectorBytes || end > i.partitions[0].Offset {
		return fmt.Errorf("write bytes %d to %d of the disk: they are to be behind the first sector and before partition %s at byte %d: move it with disk.start in the board file",
			offset, end, i.partitions[0].Name, i.partitions[0].Offset)
	}
	_, err := i.file.WriteAt(b, offset)
	return err
}
