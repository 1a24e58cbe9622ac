// Package fat makes FAT32 file systems, reads them, and replaces files in them
// (Microsoft FAT specification, version 1.03). It is for partition boot, and
// needs no mount: only what reads or writes at an offset.
//
// The same files and options give the same bytes. What is read may be damaged
// or hostile: work and memory are bounded by the size of the file system. A
// replacement that ends early leaves the old file.
//
// Finding all damage and repairing it are left to others, and so are FAT12 and
// FAT16. File systems made here have names in ASCII.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// FS is a FAT32 file system opened for reading. It is an fs.FS whose names are
// matched without regard to case, as firmware does.
type FS struct {
	r            io.ReaderAt
	volumeID     uint32
	sectorBytes  int64
	clusterBytes int64
	fatOffset    int64
	fatBytes     int64
	fatCount     int64
	dataOffset   int64
	fsInfo       int64 // byte offset
	backup       int64 // byte offset of the backup boot sector, 0 if there is none
	root         uint32
	table        table
}

const (
	sectorBytes = 512 // of what Make makes

	// MinClusters is how many clusters make a file system FAT32: with fewer,
	// firmware may take it for FAT16 (specification, section 3.5).
	MinClusters = 65525

	maxTableBytes = 64 << 20
)

// Open reads the boot sector and the allocation table of the FAT32 file system
// in the first size bytes of r, and keeps the latter, 4 bytes a cluster and 64
// MiB at most. [FS.Check] has to succeed before its directories are walked.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	v, err := readFS(r, size)
	if err != nil {
		return nil, fmt.Errorf("open FAT32 file system: %w", err)
	}
	return v, nil
}

func readFS(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, sectorBytes)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, errors.New("no boot sector signature")
	}
	reserved, perCluster := int64(le.Uint16(b[14:])), int64(b[13])
	v := &FS{
		r: r, sectorBytes: int64(le.Uint16(b[11:])), fatCount: int64(b[16]),
		root: le.Uint32(b[44:]), volumeID: le.Uint32(b[67:]),
	}
	switch v.sectorBytes {
	case 512, 1024, 2048, 4096:
	default:
		return nil, fmt.Errorf("sectors of %d bytes", v.sectorBytes)
	}
	if perCluster == 0 || perCluster&(perCluster-1) != 0 || v.fatCount == 0 || v.fatCount > 4 {
		return nil, fmt.Errorf("%d sectors a cluster and %d allocation tables", perCluster, v.fatCount)
	}
	if le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0 {
		return nil, errors.New("it is FAT12 or FAT16")
	}
	if le.Uint16(b[40:])&0x80 != 0 {
		return nil, errors.New("its allocation tables are not kept alike")
	}
	v.clusterBytes = perCluster * v.sectorBytes
	v.fatOffset = reserved * v.sectorBytes
	v.fatBytes = int64(le.Uint32(b[36:])) * v.sectorBytes
	v.fsInfo = int64(le.Uint16(b[48:])) * v.sectorBytes
	v.backup = int64(le.Uint16(b[50:])) * v.sectorBytes
	v.dataOffset = v.fatOffset + v.fatCount*v.fatBytes
	end := int64(le.Uint32(b[32:])) * v.sectorBytes
	if v.fatBytes == 0 || v.fatBytes > maxTableBytes || v.dataOffset >= end || end > size || v.fsInfo >= v.fatOffset {
		return nil, fmt.Errorf("allocation tables of %d bytes, data from %d to %d in %d bytes", v.fatBytes, v.dataOffset, end, size)
	}
	if v.backup+v.fsInfo >= v.fatOffset { // 0xffff means that there is none, too
		v.backup = 0
	}
	v.table = newTable(min((end-v.dataOffset)/v.clusterBytes, v.fatBytes/4-2))
	if _, err := r.ReadAt(v.table, v.fatOffset); err != nil {
		return nil, fmt.Errorf("read allocation table: %w", err)
	}
	return v, nil
}

// Label returns the volume label; nothing if there is none that can be read.
func (v *FS) Label() string {
	entries, err := v.all(v.root)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.attributes&attrVolume != 0 {
			return strings.TrimRight(string(e.short[:]), " ")
		}
	}
	return ""
}

// VolumeID returns the serial number of the file system.
func (v *FS) VolumeID() uint32 { return v.volumeID }

// Clusters returns the number of clusters and the size of each in bytes.
func (v *FS) Clusters() (count, bytes int64) { return v.table.clusters(), v.clusterBytes }
