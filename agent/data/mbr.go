package data

import (
	"errors"
	"fmt"
	"math"

	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// dosTable is an MBR with four primary partitions. It is one sector, so
// writing it either happens or not.
type dosTable struct {
	dev   Disk
	disk  blockdev.Device
	table *mbr.Table
}

func readMBR(dev Disk, d blockdev.Device) (table, error) {
	t, err := mbr.Read(library{dev, d.SizeBytes}, d.SectorBytes, d.SectorBytes)
	if err != nil {
		return nil, fmt.Errorf("read partition table: %w: flash the image again; data is kept", err)
	}
	m := &dosTable{dev, d, t}
	for _, e := range m.entries() {
		switch p := t.Partitions[e.number-1]; {
		case p.Type == mbr.GPTProtective:
			return nil, errors.New("both copies of the GPT are damaged: flash the image again; data is kept")
		case p.Type == mbr.ExtendedCHS || p.Type == mbr.ExtendedLBA:
			return nil, fmt.Errorf("partition %d is an extended one: not a table made for Skerry", e.number)
		case e.end() > d.SizeBytes:
			return nil, fmt.Errorf("partition %d ends at %d MiB, the disk at %d MiB: flash the image again", e.number, e.end()/mib, d.SizeBytes/mib)
		}
	}
	return m, nil
}

func (m *dosTable) entries() []entry {
	var entries []entry
	sector := int64(m.disk.SectorBytes)
	for _, p := range m.table.Partitions {
		if p.Type != mbr.Empty && p.Size > 0 {
			entries = append(entries, entry{number: p.Index, start: int64(p.Start) * sector, size: int64(p.Size) * sector})
		}
	}
	return entries
}

func (m *dosTable) data() int {
	if p := m.table.Partitions[partitionNumber-1]; p.Type != mbr.Empty && p.Size > 0 {
		return partitionNumber
	}
	return 0
}

func (m *dosTable) room() (first, end int64) {
	for _, e := range m.entries() {
		if e.number != partitionNumber {
			first = max(first, e.end())
		}
	}
	// Sectors are counted in 32 bits: of larger disks the rest is not used.
	return first, min(m.disk.SizeBytes, math.MaxUint32*int64(m.disk.SectorBytes))
}

func (m *dosTable) damaged() bool { return false }

func (m *dosTable) put(e entry) error {
	sector := int64(m.disk.SectorBytes)
	p := m.table.Partitions[e.number-1]
	p.Index, p.Bootable, p.Type = e.number, false, mbr.Linux
	p.Start, p.Size = uint32(e.start/sector), uint32(e.size/sector)
	// Cylinders, heads and sectors cannot say where this is.
	p.StartHead, p.StartSector, p.StartCylinder = 0xfe, 0xff, 0xff
	p.EndHead, p.EndSector, p.EndCylinder = 0xfe, 0xff, 0xff
	return nil
}

func (m *dosTable) write() error {
	if err := m.table.Write(library{m.dev, m.disk.SizeBytes}, m.disk.SizeBytes); err != nil {
		return err
	}
	return m.dev.Sync()
}
