package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Content is what a device was found to hold.
type Content struct {
	// Type is "ext4", "vfat", "gpt", "LUKS" and so on, or one of Blank and Unknown.
	Type  string
	Label string
	UUID  string
	Ext   *Ext // of ext2, ext3 and ext4
}

// Types of content that are not a format.
const (
	// Blank: no signature, and the first HeadBytes are all 0x00 or all 0xFF,
	// as on an erased or never used medium.
	Blank = "blank"
	// Unknown: no signature known here, but there is something at the start.
	Unknown = "unknown data"
)

// HeadBytes is how much at the start decides between blank and unknown. It is
// not more, because mke2fs leaves exactly this much zero until all else of a new
// file system is on the medium: a device on which it was interrupted must count as blank.
const HeadBytes = 4096

// String says what was found in a few words for an error message.
func (c Content) String() string {
	if c.Label != "" {
		return fmt.Sprintf("%s labelled %q", c.Type, c.Label)
	}
	return c.Type
}

const (
	startBytes = 256 << 10 // the end of a first ZFS label, the farthest signature
	endBytes   = 128 << 10 // holds the RAID superblocks kept at a device's end
)

// magic is a signature at a fixed place. Places and bytes are those of
// libblkid's probes (util-linux, libblkid/src/superblocks).
type magic struct {
	name  string
	at    int
	bytes string
}

// The first that fits counts, so formats that keep foreign boot sectors stand
// before those that are known by a boot sector.
var magics = []magic{
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"LVM2", 0, "LABELONE"}, {"LVM2", 512, "LABELONE"}, {"LVM2", 1024, "LABELONE"}, {"LVM2", 1536, "LABELONE"},
	{"RAID member", 0, "\xfc\x4e\x2b\xa9"},
	{"xfs", 0, "XFSB"},
	// mke2fs clears what is before this point, but not what follows.
	{"ext", ExtSuperblockOffset + extMagicAt, "\x53\xef"},
	{"LUKS", 0x4000, "SKUL\xba\xbe"}, // second header of LUKS2
	{"RAID member", 4096, "\xfc\x4e\x2b\xa9"},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"bcachefs", 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"dm-verity", 0, "verity\x00\x00"},
	{"stratis", 516, "!Stra0tis\x86\xff\x02^\x41rh"},
	{"ceph", 0, "bluestore block device"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"squashfs", 0, "hsqs"},
	{"cramfs", 0, "\x45\x3d\xcd\x28"},
	{"apfs", 32, "NXSB"},
	{"hfsplus", 1024, "H+"}, {"hfsplus", 1024, "HX"},
	{"nilfs2", 1024 + 6, "\x34\x34"},
	{"jfs", 0x8000, "JFS1"},
	{"reiserfs", 0x10034, "ReIsEr"},
	{"iso9660", 32769, "CD001"},
	{"udf", 32769, "BEA01"}, {"udf", 32769, "NSR0"},
	{"swap", 4096 - 10, "SWAPSPACE2"}, {"swap", 4096 - 10, "SWAP-SPACE"},
	{"swap", 16384 - 10, "SWAPSPACE2"}, {"swap", 65536 - 10, "SWAPSPACE2"},
	{"bitlocker", 3, "-FVE-FS-"},
	{"ntfs", 3, "NTFS    "},
	{"exfat", 3, "EXFAT   "},
	{"vfat", 0x52, "FAT32   "}, {"vfat", 0x36, "FAT16   "}, {"vfat", 0x36, "FAT12   "},
	{"gpt", 512, "EFI PART"}, {"gpt", 4096, "EFI PART"},
}

// Probe says what a device or partition of the given size holds. It reads the
// first 256 KiB and the last 128 KiB.
func Probe(dev io.ReaderAt, sizeBytes int64) (Content, error) {
	start := make([]byte, startBytes) // zero past a small device's end
	if err := readFull(dev, start[:min(startBytes, sizeBytes)], 0); err != nil {
		return Content{}, fmt.Errorf("read the first %d bytes: %w", min(startBytes, sizeBytes), err)
	}
	end := make([]byte, min(endBytes, sizeBytes))
	if err := readFull(dev, end, sizeBytes-int64(len(end))); err != nil {
		return Content{}, fmt.Errorf("read the last %d bytes: %w", len(end), err)
	}
	for _, m := range magics {
		if string(start[m.at:m.at+len(m.bytes)]) == m.bytes {
			if c, ok := describe(m.name, start); ok {
				return c, nil
			}
		}
	}
	if zfs(start) {
		return Content{Type: "zfs"}, nil
	}
	if raidAtEnd(end, sizeBytes) {
		return Content{Type: "RAID member"}, nil
	}
	if mbr(start) {
		return Content{Type: "mbr"}, nil
	}
	head := start[:min(HeadBytes, sizeBytes)]
	if uniform(head, 0) || uniform(head, 0xff) {
		return Content{Type: Blank}, nil
	}
	return Content{Type: Unknown}, nil
}

// describe adds the label where people give one. It reports false when a
// signature too short to be sure turns out to be something else.
func describe(name string, b []byte) (Content, bool) {
	c := Content{Type: name}
	switch {
	case name == "ext":
		e, ok := ParseExt(b[ExtSuperblockOffset:])
		// A copy that belongs to a later group is what is left of a file
		// system that started elsewhere; here it means nothing.
		if !ok || e.Group != 0 {
			return c, false
		}
		return Content{Type: e.Version, Label: strings.ToValidUTF8(e.Label, "?"), UUID: e.UUID, Ext: &e}, true
	case name == "vfat" && string(b[0x52:0x57]) == "FAT32":
		c.Label = strings.TrimRight(string(b[0x47:0x52]), " \x00")
	case name == "vfat":
		c.Label = strings.TrimRight(string(b[0x2b:0x36]), " \x00")
	case name == "erofs":
		c.UUID = bigEndianUUID(b[1024+48:][:16])
		c.Label = string(bytes.TrimRight(b[1024+64:][:16], "\x00"))
	case name == "xfs":
		c.UUID = bigEndianUUID(b[32:48])
		c.Label = string(bytes.TrimRight(b[108:120], "\x00"))
	case name == "btrfs":
		c.Label, _, _ = strings.Cut(string(b[0x1012b:][:256]), "\x00")
	}
	c.Label = strings.ToValidUTF8(c.Label, "?")
	return c, true
}

// zfs looks for uberblocks, which fill the second half of a label.
func zfs(b []byte) bool {
	for at := 128 << 10; at+8 <= len(b); at += 1024 {
		const uberblock = 0x00bab10c
		if binary.LittleEndian.Uint64(b[at:]) == uberblock || binary.BigEndian.Uint64(b[at:]) == uberblock {
			return true
		}
	}
	return false
}

// raidAtEnd looks for Linux RAID superblocks of versions 0.90 and 1.0.
func raidAtEnd(end []byte, sizeBytes int64) bool {
	first := sizeBytes - int64(len(end))
	for _, at := range []int64{sizeBytes&^0xffff - 0x10000, (sizeBytes/512 - 16) &^ 7 * 512} {
		if i := at - first; i >= 0 && i+4 <= int64(len(end)) && string(end[i:i+4]) == "\xfc\x4e\x2b\xa9" {
			return true
		}
	}
	return false
}

// mbr is true for a partition table with at least one plausible entry: the
// closing signature alone also ends every boot sector.
func mbr(b []byte) bool {
	if b[510] != 0x55 || b[511] != 0xaa {
		return false
	}
	used := false
	for i := range 4 {
		entry := b[446+16*i:][:16]
		if entry[0]&0x7f != 0 {
			return false
		}
		used = used || entry[4] != 0 && binary.LittleEndian.Uint32(entry[12:]) != 0
	}
	return used
}

func uniform(b []byte, value byte) bool {
	for _, x := range b {
		if x != value {
			return false
		}
	}
	return true
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
