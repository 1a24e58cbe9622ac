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
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

// FS is a FAT32 file system opened for reading. It is an fs.FS whose names are
// matched without regard to case, as firmware does.
type FS struct {
	r            io.ReaderAt
	label        string
	volumeID     uint32
	sectorBytes  int64
	clusterBytes int64
	fatOffset    int64
	fatBytes     int64
	fatCount     int64
	dataOffset   int64
	fsInfo       int64 // byte offset
	backup       int64 // byte offset of the backup boot sector
	clusters     uint32
	root         uint32
	table        []uint32
}

const (
	sectorBytes = 512 // of what Make makes
	slotBytes   = 32  // of a directory entry

	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLongName  = 0x0f

	lastCluster = 0x0ffffff8 // this and above end a chain
	clusterMask = 0x0fffffff

	// MinClusters is how many clusters make a file system FAT32: with fewer,
	// firmware may take it for FAT16 (specification, section 3.5).
	MinClusters = 65525

	maxFATBytes       = 64 << 20
	maxDirectoryBytes = 65536 * slotBytes
)

// Open reads the boot sector, the allocation table and the directories of the
// FAT32 file system in the first size bytes of r.
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
	if v.fatBytes == 0 || v.fatBytes > maxFATBytes || v.dataOffset >= end || end > size || v.fsInfo >= v.fatOffset {
		return nil, fmt.Errorf("allocation tables of %d bytes, data from %d to %d in %d bytes", v.fatBytes, v.dataOffset, end, size)
	}
	v.clusters = uint32(min((end-v.dataOffset)/v.clusterBytes, v.fatBytes/4-2, clusterMask))

	raw := make([]byte, v.fatBytes)
	if _, err := r.ReadAt(raw, v.fatOffset); err != nil {
		return nil, fmt.Errorf("read allocation table: %w", err)
	}
	v.table = make([]uint32, v.clusters+2)
	for i := range v.table {
		v.table[i] = le.Uint32(raw[4*i:])
	}
	return v, v.checkDirectories()
}

// checkDirectories reads every directory once and finds the label. A directory
// that is part of two others, or of itself, would never end for who walks it.
func (v *FS) checkDirectories() error {
	seen := map[uint32]bool{v.root: true}
	for todo := []uint32{v.root}; len(todo) > 0; todo = todo[1:] {
		entries, err := v.entries(todo[0])
		if err != nil {
			return fmt.Errorf("read directory at cluster %d: %w", todo[0], err)
		}
		for _, e := range entries {
			switch {
			case e.attributes&attrVolume != 0:
				if todo[0] == v.root {
					v.label = strings.TrimRight(string(e.short[:]), " ")
				}
			case e.isDir() && !e.isLink():
				if seen[e.cluster] {
					return fmt.Errorf("directory %q begins at cluster %d, as another one does", e.name(), e.cluster)
				}
				seen[e.cluster] = true
				todo = append(todo, e.cluster)
			}
		}
	}
	return nil
}

// Label returns the volume label.
func (v *FS) Label() string { return v.label }

// VolumeID returns the serial number of the file system.
func (v *FS) VolumeID() uint32 { return v.volumeID }

// Clusters returns the number of clusters and the size of each in bytes.
func (v *FS) Clusters() (count, bytes int64) { return int64(v.clusters), v.clusterBytes }

// Free returns the number of clusters that are free.
func (v *FS) Free() int64 {
	free := int64(0)
	for _, next := range v.table[2:] {
		if next&clusterMask == 0 {
			free++
		}
	}
	return free
}

// chain returns the clusters that follow first, itself included. It fails on
// loops and on more than limit clusters.
func (v *FS) chain(first uint32, limit int64) ([]uint32, error) {
	var chain []uint32
	for c := first; c < lastCluster; c = v.table[c] & clusterMask {
		if c < 2 || int64(c) >= int64(len(v.table)) {
			return nil, fmt.Errorf("cluster %d is not one of 2 to %d", c, len(v.table)-1)
		}
		if int64(len(chain)) == limit {
			return nil, fmt.Errorf("the chain of clusters from %d is longer than %d", first, limit)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

func (v *FS) offset(cluster uint32) int64 {
	return v.dataOffset + int64(cluster-2)*v.clusterBytes
}

// entry is a directory entry with its long name.
type entry struct {
	long       string
	short      [11]byte
	attributes byte
	lowercase  byte
	cluster    uint32
	size       uint32
	modified   time.Time
	at         int64 // byte offset of its 32 bytes in the file system
}

func (e entry) isDir() bool { return e.attributes&attrDirectory != 0 }

// isLink says that the entry is "." or "..".
func (e entry) isLink() bool { return e.short[0] == '.' }

func (e entry) name() string {
	if e.long != "" {
		return e.long
	}
	base, ext := strings.TrimRight(string(e.short[:8]), " "), strings.TrimRight(string(e.short[8:]), " ")
	if e.lowercase&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e.lowercase&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return base
}

// entries returns the live entries of the directory at first.
func (v *FS) entries(first uint32) ([]entry, error) {
	chain, err := v.chain(first, maxDirectoryBytes/v.clusterBytes+1)
	if err != nil {
		return nil, err
	}
	var entries []entry
	var long []uint16
	names := 0
	b := make([]byte, v.clusterBytes)
	for _, c := range chain {
		if _, err := v.r.ReadAt(b, v.offset(c)); err != nil {
			return nil, err
		}
		for at := int64(0); at < v.clusterBytes; at += slotBytes {
			s := b[at : at+slotBytes]
			switch {
			case s[0] == 0:
				return entries, nil
			case s[0] == 0xe5: // deleted
				long, names = nil, 0
				continue
			case s[11]&0x3f == attrLongName:
				if s[0]&0x40 != 0 || names == 20 {
					long, names = nil, 0
				}
				long, names = append(longName(s), long...), names+1
				continue
			}
			e := entry{
				long: string(utf16.Decode(long)), attributes: s[11], lowercase: s[12],
				cluster:  uint32(binary.LittleEndian.Uint16(s[20:]))<<16 | uint32(binary.LittleEndian.Uint16(s[26:])),
				size:     binary.LittleEndian.Uint32(s[28:]),
				modified: fromDOS(binary.LittleEndian.Uint16(s[24:]), binary.LittleEndian.Uint16(s[22:])),
				at:       v.offset(c) + at,
			}
			copy(e.short[:], s)
			long, names = nil, 0
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// longNameAt is where a slot has the characters of a long name.
var longNameAt = [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// longName returns the up to 13 characters in one slot of a long name.
func longName(s []byte) []uint16 {
	var part []uint16
	for _, at := range longNameAt {
		c := binary.LittleEndian.Uint16(s[at:])
		if c == 0 {
			break
		}
		part = append(part, c)
	}
	return part
}

// fromDOS returns a time in steps of two seconds. FAT knows no time zone;
// Skerry writes UTC.
func fromDOS(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

func toDOS(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// find returns the entry at a slash-separated path. That of the root has no
// name and no place.
func (v *FS) find(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := entry{attributes: attrDirectory, cluster: v.root}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		entries, err := v.list(at)
		if err != nil {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
		}
		found := false
		for _, e := range entries {
			if strings.EqualFold(e.name(), part) {
				at, found = e, true
				break
			}
		}
		if !found {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// list returns what is in a directory, without ".", ".." and the label.
func (v *FS) list(dir entry) ([]entry, error) {
	if !dir.isDir() {
		return nil, fs.ErrNotExist
	}
	all, err := v.entries(dir.cluster)
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, e := range all {
		if e.attributes&attrVolume == 0 && !e.isLink() {
			list = append(list, e)
		}
	}
	return list, nil
}
