package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
)

const (
	sectorBytes = 512
	alignment   = 1 << 20 // of partitions, in bytes

	entryBytes = 128 // of an entry of the partition table
	maxEntries = 128
)

// header is a GPT header (UEFI 2.10, table 5.5).
type header struct {
	Signature      [8]byte
	Revision       uint32
	HeaderSize     uint32
	HeaderCRC      uint32
	_              uint32
	MyLBA          uint64
	AlternateLBA   uint64
	FirstUsableLBA uint64
	LastUsableLBA  uint64
	DiskGUID       [16]byte
	EntriesLBA     uint64
	EntryCount     uint32
	EntrySize      uint32
	EntriesCRC     uint32
}

// entry is an entry of the partition table (UEFI 2.10, table 5.6).
type entry struct {
	Type       [16]byte
	ID         [16]byte
	FirstLBA   uint64
	LastLBA    uint64
	Attributes uint64
	Name       [36]uint16
}

// checkTable reads the partition table and checks it as firmware and kernel do.
func (i *inspection) checkTable(_ context.Context, shown *progress.Step) error {
	if i.uboot = hasMBR(i.image); i.uboot {
		i.checkMBRTable(i.image)
	} else {
		i.Report.checkTable(i.image)
	}
	shown.Detail("%d partitions", len(i.Partitions))
	return nil
}

func (r *Report) checkTable(image io.ReaderAt) {
	checkMBR(r, image, r.Size)
	last := uint64(r.Size/sectorBytes) - 1
	primary, entries, err := readTable(image, r.Size, 1)
	if err != nil {
		r.find("partition table", "The primary table at sector 1 is not valid: %v.", err)
	}
	backup, backupEntries, backupErr := readTable(image, r.Size, last)
	if backupErr != nil {
		r.find("partition table", "The backup table at sector %d, the last of the disk, is not valid: %v.", last, backupErr)
	}
	switch {
	case err == nil && backupErr == nil:
		if differ := compareHeaders(primary, backup); differ != "" {
			r.find("partition table", "Primary and backup table disagree about %s.", differ)
		}
	case backupErr == nil:
		primary, entries = backup, backupEntries
	case err != nil:
		return // nothing is known of the partitions
	}
	r.DiskID = guid(primary.DiskGUID)
	r.Partitions = partitions(r, r.Size, primary, entries)
	checkNames(r)
}

// checkMBR checks the protective MBR (UEFI 2.10, section 5.2.3), which keeps
// programs that know no GPT from taking the disk for an empty one.
func checkMBR(r *Report, image io.ReaderAt, size int64) {
	b := make([]byte, sectorBytes)
	if _, err := image.ReadAt(b, 0); err != nil {
		r.find("protective MBR", "It cannot be read: %v.", err)
		return
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		r.find("protective MBR", "Sector 0 has no boot signature 55 AA.")
		return
	}
	protective := 0
	for n := range 4 {
		p := b[446+16*n:][:16]
		start, count := binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:])
		switch p[4] {
		case 0:
		case 0xee:
			protective++
			want := uint32(min(size/sectorBytes-1, 0xffffffff))
			if start != 1 || count != want && count != 0xffffffff {
				r.find("protective MBR", "Its entry covers %d sectors from sector %d: %d from sector 1 are expected.", count, start, want)
			}
		default:
			r.find("protective MBR", "Entry %d has type %#02x: only one of type 0xEE is expected.", n+1, p[4])
		}
	}
	if protective != 1 {
		r.find("protective MBR", "It has %d entries of type 0xEE: one is expected.", protective)
	}
}

// readTable reads the header at a sector and its entries, and checks what can
// be checked without the other copy.
func readTable(image io.ReaderAt, size int64, at uint64) (header, []entry, error) {
	var h header
	sectors := uint64(size / sectorBytes)
	b := make([]byte, sectorBytes)
	if _, err := image.ReadAt(b, int64(at)*sectorBytes); err != nil {
		return h, nil, err
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
		return h, nil, err
	}
	if string(h.Signature[:]) != "EFI PART" {
		return h, nil, errors.New("there is no signature EFI PART")
	}
	if h.HeaderSize < 92 || h.HeaderSize > sectorBytes {
		return h, nil, fmt.Errorf("its header has %d bytes", h.HeaderSize)
	}
	copied := slices.Clone(b[:h.HeaderSize])
	clear(copied[16:20])
	if sum := crc32.ChecksumIEEE(copied); sum != h.HeaderCRC {
		return h, nil, fmt.Errorf("its header has the checksum %08x, and says %08x", sum, h.HeaderCRC)
	}
	switch {
	case h.MyLBA != at:
		return h, nil, fmt.Errorf("its header says that it is at sector %d", h.MyLBA)
	case h.AlternateLBA == at || h.AlternateLBA >= sectors:
		return h, nil, fmt.Errorf("its header says that the other copy is at sector %d of %d", h.AlternateLBA, sectors)
	case h.EntryCount == 0 || h.EntryCount > maxEntries || h.EntrySize != entryBytes:
		return h, nil, fmt.Errorf("it has %d entries of %d bytes: up to %d of %d are expected", h.EntryCount, h.EntrySize, maxEntries, entryBytes)
	}
	raw := make([]byte, h.EntryCount*entryBytes)
	end := h.EntriesLBA + uint64(len(raw)+sectorBytes-1)/sectorBytes
	if h.EntriesLBA < 2 || h.EntriesLBA >= sectors || end > sectors {
		return h, nil, fmt.Errorf("its entries are at sectors %d to %d of %d", h.EntriesLBA, end-1, sectors)
	}
	if at == 1 && end > h.FirstUsableLBA || at != 1 && h.EntriesLBA <= h.LastUsableLBA {
		return h, nil, fmt.Errorf("its entries at sector %d are where partitions may be", h.EntriesLBA)
	}
	if _, err := image.ReadAt(raw, int64(h.EntriesLBA)*sectorBytes); err != nil {
		return h, nil, err
	}
	if sum := crc32.ChecksumIEEE(raw); sum != h.EntriesCRC {
		return h, nil, fmt.Errorf("its entries have the checksum %08x, and the header says %08x", sum, h.EntriesCRC)
	}
	entries := make([]entry, h.EntryCount)
	_, err := binary.Decode(raw, binary.LittleEndian, entries)
	return h, entries, err
}

// compareHeaders names what the two headers disagree about.
func compareHeaders(primary, backup header) string {
	var differ []string
	for _, c := range []struct {
		what string
		same bool
	}{
		{"where the other one is", primary.AlternateLBA == backup.MyLBA && backup.AlternateLBA == primary.MyLBA},
		{"the disk's identifier", primary.DiskGUID == backup.DiskGUID},
		{"the usable sectors", primary.FirstUsableLBA == backup.FirstUsableLBA && primary.LastUsableLBA == backup.LastUsableLBA},
		{"the partitions", primary.EntryCount == backup.EntryCount && primary.EntriesCRC == backup.EntriesCRC},
	} {
		if !c.same {
			differ = append(differ, c.what)
		}
	}
	return strings.Join(differ, ", ")
}

// partitions returns the partitions that are within the disk.
func partitions(r *Report, size int64, h header, entries []entry) []Partition {
	found := []Partition{}
	sectors := uint64(size / sectorBytes)
	ids := map[string]int{}
	for n, e := range entries {
		if e.Type == [16]byte{} {
			continue
		}
		name, _, _ := strings.Cut(string(utf16.Decode(e.Name[:])), "\x00")
		where := fmt.Sprintf("partition %d (%q)", n+1, name)
		if e.FirstLBA > e.LastLBA || e.LastLBA >= sectors {
			r.find(where, "It is at sectors %d to %d of %d.", e.FirstLBA, e.LastLBA, sectors)
			continue
		}
		if e.FirstLBA < h.FirstUsableLBA || e.LastLBA > h.LastUsableLBA {
			r.find(where, "It is at sectors %d to %d, outside of the usable ones from %d to %d.",
				e.FirstLBA, e.LastLBA, h.FirstUsableLBA, h.LastUsableLBA)
		}
		p := Partition{
			Number: n + 1, Name: name, Type: guid(e.Type), ID: guid(e.ID),
			Offset: int64(e.FirstLBA) * sectorBytes, Size: int64(e.LastLBA-e.FirstLBA+1) * sectorBytes,
		}
		if p.Offset%alignment != 0 {
			r.find(where, "It begins at byte %d, which is not a multiple of 1 MiB.", p.Offset)
		}
		if other, ok := ids[p.ID]; ok {
			r.find(where, "It has the identifier of partition %d, %s.", other, p.ID)
		}
		ids[p.ID] = p.Number
		for _, other := range found {
			if p.Offset < other.Offset+other.Size && other.Offset < p.Offset+p.Size {
				r.find(where, "It overlaps partition %d (%q).", other.Number, other.Name)
			}
		}
		found = append(found, p)
	}
	return found
}

// layout is what every Skerry disk has.
var layout = []struct {
	name, kind string
	required   bool
}{
	{disk.Boot, disk.EFISystem, true},
	{disk.SlotA, disk.LinuxData, true},
	{disk.SlotB, disk.LinuxData, true},
	{"data", disk.LinuxData, false}, // the node makes it at its first boot
}

// checkNames checks that the partitions are those of a Skerry disk.
func checkNames(r *Report) {
	for n, want := range layout {
		at := slices.IndexFunc(r.Partitions, func(p Partition) bool { return p.Number == n+1 })
		switch {
		case at < 0 && want.required:
			r.find("partition table", "There is no partition %d, %s.", n+1, want.name)
		case at < 0:
		case r.Partitions[at].Name != want.name:
			r.find("partition table", "Partition %d is called %q and not %s.", n+1, r.Partitions[at].Name, want.name)
		case r.Partitions[at].Type != want.kind:
			r.find(want.name, "The partition has type %s and not %s.", r.Partitions[at].Type, want.kind)
		}
	}
	for _, p := range r.Partitions {
		if p.Number > len(layout) {
			r.find("partition table", "Partition %d (%q) has no place on a Skerry disk.", p.Number, p.Name)
		}
	}
}

// guid returns a GUID as it is written; its first three fields are little
// endian on disk (UEFI 2.10, appendix A).
func guid(b [16]byte) string {
	slices.Reverse(b[:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return strings.ToUpper(uuid.UUID(b).String())
}
