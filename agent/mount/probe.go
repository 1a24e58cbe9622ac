package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Probe implements host.
func (Linux) Probe(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return probe(file)
}

// probeSize reaches to the end of btrfs' first superblock's magic, the last of
// the signatures.
const probeSize = 0x10040 + 8

// probe returns the type of the file system in r by its superblock, as mount's
// -t wants it, or "" if it knows none. Types whose superblocks are at the same
// place are told apart by their magic numbers, as libblkid does; the kernel
// checks the rest.
func probe(r io.ReaderAt) (string, error) {
	buf := make([]byte, probeSize)
	n, err := r.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	clear(buf[n:])
	magic := func(offset int, want string) bool {
		return bytes.Equal(buf[offset:offset+len(want)], []byte(want))
	}
	switch {
	case magic(0, "hsqs"):
		return "squashfs", nil
	case magic(0, "XFSB"):
		return "xfs", nil
	case magic(0x10040, "_BHRfS_M"):
		return "btrfs", nil
	case magic(1024, "\xe2\xe1\xf5\xe0"):
		return "erofs", nil
	case magic(1024, "\x10\x20\xf5\xf2"):
		return "f2fs", nil
	case magic(1024+56, "\x53\xef"):
		return extType(buf[1024:]), nil
	case magic(32768+1, "CD001"):
		return "iso9660", nil
	case magic(3, "EXFAT   "):
		return "exfat", nil
	case magic(3, "NTFS    "):
		return "ntfs3", nil
	case magic(510, "\x55\xaa") && isFAT(buf):
		return "vfat", nil
	}
	return "", nil
}

// extType tells ext2, ext3 and ext4 apart by the features in the superblock
// (Documentation/filesystems/ext4/super.rst).
func extType(super []byte) string {
	compat := binary.LittleEndian.Uint32(super[0x5c:])
	incompat := binary.LittleEndian.Uint32(super[0x60:])
	roCompat := binary.LittleEndian.Uint32(super[0x64:])
	const (
		hasJournal     = 0x4
		journalDevice  = 0x8
		ext3Incompat   = 0x2 | 0x4 | 0x10 // filetype, needs_recovery, meta_bg
		ext3ROCompat   = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
		ext2NoRecovery = 0x4
	)
	switch {
	case incompat&journalDevice != 0:
		return "" // only a journal
	case incompat&^ext3Incompat != 0 || roCompat&^ext3ROCompat != 0:
		return "ext4"
	case compat&hasJournal != 0 || incompat&ext2NoRecovery != 0:
		return "ext3"
	}
	return "ext2"
}

// isFAT tells a FAT boot sector from a master boot record, which ends in the
// same two bytes: by the type's name, and by a sane BIOS parameter block.
func isFAT(buf []byte) bool {
	sector := binary.LittleEndian.Uint16(buf[11:])
	cluster := buf[13]
	reserved := binary.LittleEndian.Uint16(buf[14:])
	fats := buf[16]
	named := bytes.HasPrefix(buf[82:], []byte("FAT32   ")) || bytes.HasPrefix(buf[54:], []byte("FAT1"))
	return named && sector >= 512 && sector <= 4096 && sector&(sector-1) == 0 &&
		cluster != 0 && cluster&(cluster-1) == 0 && reserved != 0 && fats != 0
}
