package blockdev

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Ext is what the superblock of an ext2, ext3 or ext4 file system says
// (kernel documentation, filesystems/ext4/super.rst).
type Ext struct {
	Version        string // "ext2", "ext3" or "ext4"
	Label          string
	UUID           string
	Blocks         int64
	BlockBytes     int64
	BlocksPerGroup int64
	FirstBlock     int64 // the block group 0 starts at: 1 with 1 KiB blocks, else 0
	Group          int   // the block group this copy of the superblock is in
	Clean          bool  // unmounted properly, or has a journal that makes up for it
	Errors         bool  // the kernel found the file system inconsistent
	NeedsRecovery  bool  // the journal must be replayed; mounting does that
	EverMounted    bool
	SumValid       bool // the superblock's checksum is right, or it has none
	HasSum         bool
	SparseSuper    bool // copies only in groups 0, 1 and powers of 3, 5 and 7
}

// ExtSuperblock is where the first superblock lies, and how long one is.
const (
	ExtSuperblockOffset = 1024
	ExtSuperblockBytes  = 1024
)

const (
	extMagicAt    = 56
	extLabelAt    = 120
	extLabelBytes = 16
	extSumAt      = 1020
)

// ParseExt reads a superblock. It reports false for bytes that are none.
func ParseExt(b []byte) (Ext, bool) {
	if len(b) < ExtSuperblockBytes || b[extMagicAt] != 0x53 || b[extMagicAt+1] != 0xEF {
		return Ext{}, false
	}
	le := binary.LittleEndian
	state, compat, incompat, roCompat := le.Uint16(b[58:]), le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	logBlock := le.Uint32(b[24:])
	// The magic has two bytes and turns up in random data, so the fields
	// that cannot vary much are looked at too. 64 KiB is the largest block.
	if logBlock > 6 || le.Uint32(b[76:]) > 1 || le.Uint32(b[0:]) == 0 || le.Uint32(b[32:]) == 0 || le.Uint32(b[40:]) == 0 {
		return Ext{}, false
	}
	e := Ext{
		Label:          string(bytes.TrimRight(b[extLabelAt:][:extLabelBytes], "\x00")),
		UUID:           bigEndianUUID(b[104:120]),
		Blocks:         int64(le.Uint32(b[4:])),
		BlockBytes:     1024 << logBlock,
		BlocksPerGroup: int64(le.Uint32(b[32:])),
		FirstBlock:     int64(le.Uint32(b[20:])),
		Group:          int(le.Uint16(b[90:])),
		Clean:          state&1 != 0,
		Errors:         state&2 != 0,
		NeedsRecovery:  incompat&0x4 != 0,
		EverMounted:    le.Uint32(b[44:]) != 0 || le.Uint16(b[52:]) != 0,
		HasSum:         roCompat&0x400 != 0,
		SparseSuper:    roCompat&0x1 != 0,
	}
	if incompat&0x80 != 0 { // 64bit
		e.Blocks |= int64(le.Uint32(b[336:])) << 32
	}
	e.SumValid = !e.HasSum || le.Uint32(b[extSumAt:]) == extSum(b)
	switch {
	case incompat&(0x40|0x80|0x200) != 0 || e.HasSum: // extents, 64bit, flex_bg
		e.Version = "ext4"
	case compat&0x4 != 0:
		e.Version = "ext3"
	default:
		e.Version = "ext2"
	}
	return e, true
}

// SetExtLabel changes the label in a superblock and its checksum. Labels are
// at most 16 bytes.
func SetExtLabel(b []byte, label string) error {
	e, ok := ParseExt(b)
	if !ok || len(label) > extLabelBytes {
		return fmt.Errorf("label %q: not an ext superblock, or longer than %d bytes", label, extLabelBytes)
	}
	clear(b[extLabelAt:][:extLabelBytes])
	copy(b[extLabelAt:], label)
	if e.HasSum {
		binary.LittleEndian.PutUint32(b[extSumAt:], extSum(b))
	}
	return nil
}

// extSum is crc32c without the last inversion, over all but the sum itself.
func extSum(b []byte) uint32 {
	return ^crc32.Checksum(b[:extSumAt], crc32.MakeTable(crc32.Castagnoli))
}

func bigEndianUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
