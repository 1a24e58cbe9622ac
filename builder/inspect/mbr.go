package inspect

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/skerry-os/skerry/builder/disk"
)

// mbrLayout is what every Skerry disk with an MBR has, by number.
var mbrLayout = []struct {
	name     string
	kind     byte
	required bool
}{
	{disk.Boot, 0x0c, true}, // FAT32 with sectors in 32 bits
	{disk.SlotA, 0x83, true},
	{disk.SlotB, 0x83, true},
	{disk.Data, 0x83, false}, // the node makes it at its first boot
}

// hasMBR tells an MBR with partitions from the protective one of a GPT.
func hasMBR(image io.ReaderAt) bool {
	b := make([]byte, sectorBytes)
	if _, err := image.ReadAt(b, 0); err != nil || b[510] != 0x55 || b[511] != 0xaa {
		return false
	}
	used := false
	for n := range 4 {
		kind := b[446+16*n+4]
		if kind == 0xee {
			return false
		}
		used = used || kind != 0
	}
	return used
}

// checkMBRTable reads an MBR and checks it as firmware, U-Boot and kernel do.
func (r *Report) checkMBRTable(image io.ReaderAt) {
	b := make([]byte, sectorBytes)
	if _, err := image.ReadAt(b, 0); err != nil {
		r.find("partition table", "It cannot be read: %v.", err)
		return
	}
	id := binary.LittleEndian.Uint32(b[440:])
	r.DiskID = fmt.Sprintf("%08X", id)
	if id == 0 {
		r.find("partition table", "The disk has no identifier.")
	}
	for n, want := range mbrLayout {
		e := b[446+16*n:][:16]
		start, count := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		switch {
		case e[4] == 0 && want.required:
			r.find("partition table", "There is no partition %d, %s.", n+1, want.name)
			continue
		case e[4] == 0:
			continue
		case e[4] != want.kind:
			r.find(want.name, "The partition has type %#02x and not %#02x.", e[4], want.kind)
		}
		// Where there is an active partition, U-Boot looks for boot.scr there only.
		if active := e[0] == 0x80; active != (n == 0) || e[0]&0x7f != 0 {
			r.find(want.name, "Its mark of the active partition is %#02x: boot, and no other, has 0x80.", e[0])
		}
		r.addMBRPartition(Partition{
			Number: n + 1, Name: want.name, Type: fmt.Sprintf("0x%02X", e[4]), ID: fmt.Sprintf("%s-%02X", r.DiskID, n+1),
			Offset: start * sectorBytes, Size: count * sectorBytes,
		})
	}
}

func (r *Report) addMBRPartition(p Partition) {
	if p.Offset == 0 || p.Size == 0 || p.Offset+p.Size > r.Size {
		r.find(p.Name, "It is at bytes %d to %d of %d.", p.Offset, p.Offset+p.Size, r.Size)
		return
	}
	if p.Offset%alignment != 0 {
		r.find(p.Name, "It begins at byte %d, which is not a multiple of 1 MiB.", p.Offset)
	}
	for _, other := range r.Partitions {
		if p.Offset < other.Offset+other.Size && other.Offset < p.Offset+p.Size {
			r.find(p.Name, "It overlaps partition %d (%q).", other.Number, other.Name)
		}
	}
	r.Partitions = append(r.Partitions, p)
}
