package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// guidTable is a GPT (UEFI 2.10, section 5.3). The library writes the backup
// first, each part synced before the next, and the primary header last. A kernel
// with "gpt" on its command line uses the primary if it is valid and else
// the backup in the last sector, so it always finds one.
type guidTable struct {
	dev     Disk
	disk    blockdev.Device
	table   *gpt.Table
	behind  int64 // where the backup of a table made for a smaller disk ends
	isWrong bool
}

// hasGPT looks for a header in both places, and refuses sizes that would have
// the library allocate without bounds.
func hasGPT(dev Disk, d blockdev.Device) (bool, error) {
	found := false
	sector := int64(d.SectorBytes)
	for _, at := range []int64{sector, (d.SizeBytes/sector - 1) * sector} {
		b := make([]byte, 92)
		if _, err := dev.ReadAt(b, at); err != nil {
			return false, fmt.Errorf("read partition table: %w", err)
		}
		if string(b[:8]) != "EFI PART" {
			continue
		}
		found = true
		if count, size := binary.LittleEndian.Uint32(b[80:]), binary.LittleEndian.Uint32(b[84:]); count > 1024 || size != gpt.PartitionEntrySize {
			return false, fmt.Errorf("partition table at byte %d has %d entries of %d bytes: not one made for Skerry", at, count, size)
		}
	}
	return found, nil
}

func readGPT(dev Disk, d blockdev.Device) (table, error) {
	t, err := gpt.Read(library{dev, d.SizeBytes}, d.SectorBytes, d.SectorBytes)
	if err != nil {
		return nil, fmt.Errorf("read partition table: %w: flash the image again; data is kept", err)
	}
	g := &guidTable{dev: dev, disk: d, table: t, behind: int64(t.TotalSize())}
	if g.behind > d.SizeBytes {
		return nil, fmt.Errorf("partition table is for a disk of %d MiB, this one has %d MiB: flash the image again", g.behind/mib, d.SizeBytes/mib)
	}
	if g.behind == d.SizeBytes {
		g.behind = 0
	}
	g.isWrong = t.RecoveredFromBackup || g.behind == 0 && t.Verify(library{dev, d.SizeBytes}, uint64(d.SizeBytes)) != nil
	t.Resize(uint64(d.SizeBytes))
	// The library would write sector 0 first of all. Nothing in it must change,
	// and firmware does not find a disk where that sector is torn.
	t.ProtectiveMBR = false
	return g, nil
}

func (g *guidTable) entries() []entry {
	var entries []entry
	sector := int64(g.disk.SectorBytes)
	for _, p := range g.table.Partitions {
		entries = append(entries, entry{p.Index, p.Name, int64(p.Start) * sector, int64(p.End-p.Start+1) * sector})
	}
	return entries
}

func (g *guidTable) data() int {
	for _, p := range g.table.Partitions {
		if p.Name == partitionName {
			return p.Index
		}
	}
	return 0
}

func (g *guidTable) room() (first, end int64) {
	// The backup a smaller image brought is not overwritten: it stays good
	// until the new one is complete, and flashing the image again does not
	// write into data.
	first = g.behind
	if g.data() != 0 {
		first = 0
	}
	for _, e := range g.entries() {
		if e.number != g.data() {
			first = max(first, e.end())
		}
	}
	return first, int64(g.table.LastDataSector()+1) * int64(g.disk.SectorBytes)
}

func (g *guidTable) damaged() bool { return g.isWrong || g.behind != 0 }

func (g *guidTable) put(e entry) error {
	sector := uint64(g.disk.SectorBytes)
	start, end := uint64(e.start)/sector, uint64(e.end())/sector-1
	for _, p := range g.table.Partitions {
		if p.Index != e.number {
			continue
		}
		if p.Name != e.name {
			return fmt.Errorf("partition %d is called %q: data has no place in this table", e.number, p.Name)
		}
		p.Start, p.End, p.Size = start, end, uint64(e.size)
		return nil
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("make a partition identifier: %w", err)
	}
	g.table.Partitions = append(g.table.Partitions, &gpt.Partition{
		Index: e.number, Name: e.name, Type: gpt.LinuxFilesystem, GUID: id.String(), Start: start, End: end,
	})
	return nil
}

func (g *guidTable) write() error {
	return g.table.Write(library{g.dev, g.disk.SizeBytes}, g.disk.SizeBytes)
}

// library is a disk as go-diskfs wants it. Of seeking it needs only the size.
type library struct {
	Disk
	size int64
}

func (library) Read([]byte) (int, error)   { return 0, errors.ErrUnsupported }
func (library) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (l library) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekEnd || offset != 0 {
		return 0, errors.ErrUnsupported
	}
	return l.size, nil
}
