package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/skerry-os/skerry/fat"
)

// fatCheck is a FAT32 file system that is being checked (Microsoft FAT
// specification, version 1.03). It is read apart from package fat, whose
// reader gives up at the first damage: a checker has to go on.
type fatCheck struct {
	report *Report
	where  string // partition in findings
	r      io.ReaderAt

	sectorBytes  int64
	clusterBytes int64
	fatOffset    int64
	fatBytes     int64
	fatCount     int64
	dataOffset   int64
	root         uint32
	media        byte

	table []uint32 // the first copy; entries 0 and 1 mean something else
	owner []int32  // of each cluster, an index of names plus 1; 0: nobody
	names []string // of files and directories that own clusters
}

const (
	clusterMask = 0x0fffffff
	badCluster  = 0x0ffffff7
	lastCluster = 0x0ffffff8 // this and above end a chain

	maxFATBytes = 64 << 20
	// maxOwners bounds the number of files and directories.
	maxOwners = 1 << 16
)

// checkFAT checks the FAT32 file system in the first size bytes of r, a partition
// called where, and returns how many bytes its files use.
func checkFAT(report *Report, where string, r io.ReaderAt, size int64) (used int64) {
	v := &fatCheck{report: report, where: where, r: r}
	boot := make([]byte, sectorBytes)
	if _, err := r.ReadAt(boot, 0); err != nil {
		v.find("The boot sector cannot be read: %v.", err)
		return 0
	}
	if err := v.readBootSector(boot, size); err != nil {
		v.find("It is no FAT32 file system: %v.", err)
		return 0
	}
	if clusters := len(v.table) - 2; clusters < fat.MinClusters {
		v.find("It has %d clusters: with fewer than %d, firmware may take it for FAT16.", clusters, fat.MinClusters)
	}
	v.checkReserved(boot)
	v.checkTables()
	v.checkTree()
	v.checkLost(boot)
	for _, owner := range v.owner {
		if owner != 0 {
			used += v.clusterBytes
		}
	}
	return used
}

func (v *fatCheck) find(format string, args ...any) { v.report.find(v.where, format, args...) }

// readBootSector reads the parameters (sections 3.1 and 3.3) and the first
// allocation table.
func (v *fatCheck) readBootSector(b []byte, size int64) error {
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa {
		return errors.New("its first sector has no signature 55 AA")
	}
	v.sectorBytes = int64(le.Uint16(b[11:]))
	if !slices.Contains([]int64{512, 1024, 2048, 4096}, v.sectorBytes) {
		return fmt.Errorf("it has sectors of %d bytes", v.sectorBytes)
	}
	perCluster := int64(b[13])
	v.fatCount = int64(b[16])
	if perCluster == 0 || perCluster&(perCluster-1) != 0 || v.fatCount == 0 || v.fatCount > 4 {
		return fmt.Errorf("it has %d sectors a cluster and %d allocation tables", perCluster, v.fatCount)
	}
	if le.Uint16(b[17:]) != 0 || le.Uint16(b[19:]) != 0 || le.Uint16(b[22:]) != 0 {
		return errors.New("it is FAT12 or FAT16")
	}
	if version := le.Uint16(b[42:]); version != 0 {
		return fmt.Errorf("it has version %d", version)
	}
	v.media = b[21]
	v.root = le.Uint32(b[44:])
	v.clusterBytes = perCluster * v.sectorBytes
	v.fatOffset = int64(le.Uint16(b[14:])) * v.sectorBytes
	v.fatBytes = int64(le.Uint32(b[36:])) * v.sectorBytes
	v.dataOffset = v.fatOffset + v.fatCount*v.fatBytes
	end := int64(le.Uint32(b[32:])) * v.sectorBytes
	if v.fatOffset == 0 || v.fatBytes == 0 || v.fatBytes > maxFATBytes || v.dataOffset >= end || end > size {
		return fmt.Errorf("it says that it has allocation tables of %d bytes, and data from byte %d to %d of %d", v.fatBytes, v.dataOffset, end, size)
	}
	clusters := (end - v.dataOffset) / v.clusterBytes
	if clusters > v.fatBytes/4-2 {
		return fmt.Errorf("its allocation tables have room for %d of %d clusters", v.fatBytes/4-2, clusters)
	}
	raw := make([]byte, (clusters+2)*4)
	if _, err := v.r.ReadAt(raw, v.fatOffset); err != nil {
		return err
	}
	v.table = make([]uint32, clusters+2)
	for n := range v.table {
		v.table[n] = le.Uint32(raw[4*n:]) & clusterMask
	}
	v.owner = make([]int32, len(v.table))
	return nil
}

// checkReserved checks the backup of the boot sector, the flags that say that
// the file system was left in the middle of a change, and the media byte.
func (v *fatCheck) checkReserved(boot []byte) {
	backup := int64(binary.LittleEndian.Uint16(boot[50:])) * v.sectorBytes
	if backup == 0 || backup >= v.fatOffset {
		v.find("There is no backup of the boot sector.")
	} else {
		b := make([]byte, sectorBytes)
		// Linux keeps its flag for an unclean file system only in the first.
		clean := slices.Clone(boot)
		clean[65] = 0
		if _, err := v.r.ReadAt(b, backup); err != nil {
			v.find("The backup of the boot sector cannot be read: %v.", err)
		} else if b[65] = 0; !slices.Equal(b, clean) {
			v.find("The boot sector and its backup at byte %d differ.", backup)
		}
	}
	if boot[65]&1 != 0 || v.table[1]&0x08000000 == 0 {
		v.find("It is marked as in use: it was not unmounted.")
	}
	if byte(v.table[0]) != v.media {
		v.find("The allocation table begins with media byte %#02x, the boot sector has %#02x.", byte(v.table[0]), v.media)
	}
}

// checkTables compares the copies of the allocation table.
func (v *fatCheck) checkTables() {
	const step = 64 << 10
	first, other := make([]byte, step), make([]byte, step)
	for n := int64(1); n < v.fatCount; n++ {
		for at := int64(0); at < v.fatBytes; at += step {
			a, b := first[:min(step, v.fatBytes-at)], other[:min(step, v.fatBytes-at)]
			_, err := v.r.ReadAt(a, v.fatOffset+at)
			_, otherErr := v.r.ReadAt(b, v.fatOffset+n*v.fatBytes+at)
			if err := errors.Join(err, otherErr); err != nil {
				v.find("Allocation table %d cannot be read: %v.", n+1, err)
				return
			}
			if slices.Equal(a, b) {
				continue
			}
			for k := range a {
				if a[k] != b[k] {
					v.find("Allocation tables 1 and %d differ, first for cluster %d.", n+1, (at+int64(k))/4)
					return
				}
			}
		}
	}
}

// claim follows the chain of clusters from first for the file of that name,
// and returns it up to the first damage. Each cluster is claimed once, so all
// calls together take no longer than the table is long.
func (v *fatCheck) claim(name string, first uint32) (chain []uint32, ok bool) {
	v.names = append(v.names, name)
	self := int32(len(v.names))
	for c := first; c < lastCluster; c = v.table[c] {
		switch {
		case c == badCluster:
			v.find("The chain of clusters of %s leads to one that is marked bad.", name)
			return chain, false
		case c < 2 || int64(c) >= int64(len(v.table)):
			v.find("The chain of clusters of %s leads to %d, which is not one of 2 to %d.", name, c, len(v.table)-1)
			return chain, false
		case v.owner[c] == self:
			v.find("The chain of clusters of %s runs in a circle, at cluster %d.", name, c)
			return chain, false
		case v.owner[c] != 0:
			v.find("Cluster %d belongs to %s and to %s.", c, v.names[v.owner[c]-1], name)
			return chain, false
		}
		v.owner[c] = self
		chain = append(chain, c)
	}
	return chain, true
}

// checkLost looks for clusters that are in use by nobody, and compares the
// number of free ones with the FSInfo sector (section 5).
func (v *fatCheck) checkLost(boot []byte) {
	lost, first, free := 0, 0, uint32(0)
	for c := 2; c < len(v.table); c++ {
		switch {
		case v.table[c] == 0:
			free++
		case v.owner[c] == 0 && v.table[c] != badCluster:
			if lost == 0 {
				first = c
			}
			lost++
		}
	}
	if lost > 0 {
		v.find("%d clusters are in use and belong to no file; the first is %d.", lost, first)
	}
	le := binary.LittleEndian
	at := int64(le.Uint16(boot[48:])) * v.sectorBytes
	b := make([]byte, sectorBytes)
	if at == 0 || at >= v.fatOffset {
		v.find("There is no FSInfo sector.")
		return
	}
	if _, err := v.r.ReadAt(b, at); err != nil {
		v.find("The FSInfo sector cannot be read: %v.", err)
		return
	}
	if le.Uint32(b) != 0x41615252 || le.Uint32(b[484:]) != 0x61417272 || le.Uint32(b[508:]) != 0xaa550000 {
		v.find("The FSInfo sector at byte %d has no valid signatures.", at)
		return
	}
	if says := le.Uint32(b[488:]); says != free && says != 0xffffffff {
		v.find("The FSInfo sector says that %d clusters are free, and %d are.", says, free)
	}
}
