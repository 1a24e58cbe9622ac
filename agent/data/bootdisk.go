package data

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// What the partition is called in a GPT, and its number on every board.
const (
	partitionName   = "data"
	partitionNumber = 4
)

// entry is a partition in a table, in bytes.
type entry struct {
	number int
	name   string // GPT only
	start  int64
	size   int64
}

func (e entry) end() int64 { return e.start + e.size }

// table is a partition table that was read.
type table interface {
	entries() []entry
	// data returns the number of partition data, 0 if there is none.
	data() int
	// room returns where data may start at the earliest, being behind all other
	// partitions and whatever the table itself keeps there, and where it must end.
	room() (first, end int64)
	// damaged says that a copy of the table is missing, misplaced or wrong.
	damaged() bool
	// put adds or replaces the entry of data.
	put(e entry) error
	// write writes the table so that at any moment a valid one is on the disk.
	write() error
}

func readTable(dev Disk, d blockdev.Device) (table, error) {
	isGPT, err := hasGPT(dev, d)
	if err != nil {
		return nil, err
	}
	if isGPT {
		return readGPT(dev, d)
	}
	return readMBR(dev, d)
}

// onBootDisk finds data on the boot disk, adds it if it is not there, and grows
// it if there is room behind it.
func (p *preparation) onBootDisk(ctx context.Context) error {
	disk := p.BootDisk
	dev, err := p.System.Open(disk.Node)
	if err != nil {
		return err
	}
	defer dev.Close()
	t, err := readTable(dev, disk)
	if err != nil {
		return fmt.Errorf("%s: %w", disk.Node, err)
	}
	want, changed, err := p.place(t)
	if err != nil {
		return fmt.Errorf("%s: %w", disk.Node, err)
	}
	added := t.data() == 0
	if added {
		if err := p.claim(dev, want); err != nil {
			return fmt.Errorf("%s: %w", disk.Node, err)
		}
	}
	if changed || t.damaged() {
		if err := p.writeTable(dev, t, want); err != nil {
			if changed {
				return fmt.Errorf("%s: %w", disk.Node, err)
			}
			p.problem(fmt.Errorf("%s: %w", disk.Node, err))
		}
	}
	p.result.Grown = changed && !added
	return p.tellKernel(ctx, want)
}

// alignment of partitions, a multiple of the erase block of most flash.
const alignment = mib

// place returns where data is to be, and whether that is a change.
func (p *preparation) place(t table) (want entry, changed bool, err error) {
	first, end := t.room()
	first = (first + alignment - 1) / alignment * alignment
	end = end / alignment * alignment
	for _, e := range t.entries() {
		if e.number == t.data() {
			want = e
		}
	}
	if want.number == 0 {
		if end-first < MinBytes {
			return want, false, fmt.Errorf("there are %d MiB behind the slots, data needs %d MiB: use a disk of at least %d MiB, or name another disk in storage.data.device",
				max(end-first, 0)/mib, MinBytes/mib, (first+MinBytes+alignment)/mib)
		}
		return entry{number: partitionNumber, name: partitionName, start: first, size: end - first}, true, nil
	}
	// first is behind all other partitions: it comes before data only if
	// nothing is behind data.
	if first <= want.start && end-want.end() >= alignment {
		want.size = end - want.start
		return want, true, nil
	}
	return want, false, nil
}

// claim looks at the unallocated space data is about to take. Random leftovers
// of whatever the disk held earlier do not matter, and are cleared so that a power
// cut before the file system is made leaves a blank partition. An earlier
// data partition in the same place is taken over as it is: flashing a node again
// keeps its data. Anything else that is recognised is not.
func (p *preparation) claim(dev Disk, want entry) error {
	found, content, err := inspect(section{dev, want.start}, want.size)
	if err != nil {
		return err
	}
	switch {
	case found == ready || found == damaged:
		p.Progress("taking over the data of an earlier installation")
		return nil
	case found == foreign && content.Type != blockdev.Unknown && !p.Wipe:
		return fmt.Errorf("the unallocated space behind the slots holds %s, which is left alone: add %s to the node config to have it overwritten", content, wipeLine)
	}
	p.fresh = true
	p.Empty()
	return clearSignatures(dev, want.start, want.size)
}

// section is a disk from some byte on.
type section struct {
	Disk
	start int64
}

func (s section) ReadAt(b []byte, at int64) (int, error) { return s.Disk.ReadAt(b, s.start+at) }

func (p *preparation) writeTable(dev Disk, t table, want entry) error {
	p.Progress("writing the partition table")
	others := t.entries()
	if err := t.put(want); err != nil {
		return err
	}
	if err := t.write(); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	again, err := readTable(dev, p.BootDisk)
	if err != nil {
		return fmt.Errorf("read back partition table: %w", err)
	}
	if again.damaged() || !contains(again.entries(), append(others, want), want.number) {
		return errors.New("read back partition table: it is not what was written: the disk does not keep what is written")
	}
	return nil
}

// contains says whether got has all of want. Of two entries in want with the
// number changed the last counts.
func contains(got, want []entry, changed int) bool {
	byNumber := map[int]entry{}
	for _, e := range want {
		byNumber[e.number] = e
	}
	for _, e := range got {
		w, ok := byNumber[e.number]
		if e.number == changed {
			e.name = w.name // an MBR has none
		}
		if !ok || w != e {
			return false
		}
	}
	return len(got) == len(byNumber)
}

// tellKernel makes the kernel's idea of data that of the table, and waits for
// its node.
func (p *preparation) tellKernel(ctx context.Context, want entry) error {
	disk := p.BootDisk
	look := func(devices []blockdev.Device) bool {
		for _, d := range blockdev.PartitionsOf(devices, disk.Name) {
			if d.Partition == want.number {
				p.device = d
				return true
			}
		}
		return false
	}
	known := false
	if _, err := p.System.Wait(ctx, func(devices []blockdev.Device) bool { known = look(devices); return true }); err != nil {
		return err
	}
	switch {
	case known && p.device.StartBytes == want.start && p.device.SizeBytes == want.size:
		return nil
	case known && p.device.StartBytes != want.start:
		return fmt.Errorf("the kernel has %s at byte %d, the partition table at %d: reboot", p.device.Node, p.device.StartBytes, want.start)
	case known:
		if err := p.System.ResizePartition(disk.Node, want.number, want.start, want.size); err != nil {
			return err
		}
	default:
		if err := p.System.AddPartition(disk.Node, want.number, want.start, want.size); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, nodeDeadline)
	defer cancel()
	_, err := p.System.Wait(wait, func(devices []blockdev.Device) bool {
		return look(devices) && p.device.SizeBytes == want.size
	})
	if err != nil {
		return fmt.Errorf("partition %d of %s does not appear: %w", want.number, disk.Node, err)
	}
	return nil
}
