package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/tree"
)

// FATOptions are what a FAT32 file system has besides its files.
type FATOptions struct {
	Label    string // up to 11 characters
	VolumeID uint32
	Time     time.Time // of all files
}

// MakeBoot makes the FAT32 file system of partition boot out of t, in an image
// made by Create.
func (i *Image) MakeBoot(ctx context.Context, t *tree.Tree, o FATOptions) error {
	p, err := i.Partition(Boot)
	if err != nil {
		return err
	}
	return MakeFAT(ctx, i.file, p.Offset, p.Size, t, o)
}

// MakeFAT makes a FAT32 file system of size bytes, 33 MiB or more, at the
// given offset of a file, which has to be a hole or zeros there. Names keep
// their case, files are in one piece, and the times are those of o. Permissions
// are dropped; symbolic links are an error.
//
// The library that writes our partition tables writes FAT32 too, but fsck.fat
// rejects it: at 64 MiB its allocation table is two entries short, ".." of
// first-level directories is not 0, and empty files own a cluster. It also
// allocates past the end of a full file system.
func MakeFAT(ctx context.Context, file *os.File, offset, size int64, t *tree.Tree, o FATOptions) error {
	if err := makeFAT(ctx, file, offset, size, t, o); err != nil {
		return fmt.Errorf("make FAT32 file system %s: %w", o.Label, err)
	}
	return nil
}

func makeFAT(ctx context.Context, file *os.File, offset, size int64, t *tree.Tree, o FATOptions) error {
	if len(o.Label) == 0 || len(o.Label) > 11 || strings.ToUpper(o.Label) != o.Label {
		return fmt.Errorf("label %q: 1 to 11 characters in upper case are possible", o.Label)
	}
	v, err := layOutFAT(size)
	if err != nil {
		return err
	}
	return v.fill(ctx, io.NewOffsetWriter(file, offset), offset, size, t, o)
}

// fill writes a file system that was laid out. offset is where it is on the disk.
func (v *FAT) fill(ctx context.Context, w io.WriterAt, offset, size int64, t *tree.Tree, o FATOptions) error {
	v.volumeID, v.label = o.VolumeID, o.Label
	items, err := v.plan(t)
	if err != nil {
		return err
	}
	dirs, err := v.directories(t, items, o)
	if err != nil {
		return err
	}
	for _, p := range append([]string{"."}, t.Paths()...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := v.offset(items[p].cluster)
		if b, ok := dirs[p]; ok {
			if _, err := w.WriteAt(b, at); err != nil {
				return err
			}
			continue
		}
		f, _ := t.Get(p)
		if err := writeContents(io.NewOffsetWriter(w, at), f, items[p].bytes); err != nil {
			return fmt.Errorf("add %s: %w", p, err)
		}
	}
	if err := v.writeBootSectors(w, offset, size); err != nil {
		return err
	}
	return v.writeTable(w)
}

// layOutFAT chooses the clusters: as large as possible, for firmware follows
// the chain of a kernel image step by step, while there are enough of them for
// FAT32. It keeps 16 away from the limit as the specification advises.
func layOutFAT(size int64) (*FAT, error) {
	const reserved = 32
	sectors := min(size/sectorBytes, 1<<32-1)
	for perCluster := int64(64); perCluster > 0; perCluster /= 2 {
		perTable := (sectors/perCluster + 2 + 127) / 128
		// Data starts at a multiple of the cluster size, and of the flash's pages.
		data := align(reserved+2*perTable, max(perCluster, 8))
		clusters := (sectors - data) / perCluster
		if clusters < MinClusters+16 {
			continue
		}
		return &FAT{
			sectorBytes: sectorBytes, clusterBytes: perCluster * sectorBytes,
			fatOffset: (data - 2*perTable) * sectorBytes, fatBytes: perTable * sectorBytes, fatCount: 2,
			dataOffset: data * sectorBytes, fsInfo: sectorBytes, backup: 6 * sectorBytes,
			clusters: uint32(clusters), root: 2, table: make([]uint32, clusters+2),
		}, nil
	}
	return nil, fmt.Errorf("%d bytes are too few: firmware takes less than %d clusters of 512 for FAT16", size, MinClusters)
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// item is where a file or directory is.
type item struct {
	cluster uint32 // 0 for a file without contents
	bytes   int64
}

// plan gives every directory and file its clusters, one after the other.
func (v *FAT) plan(t *tree.Tree) (map[string]item, error) {
	items := map[string]item{}
	slots := map[string]int64{".": 1} // the label
	paths := append([]string{"."}, t.Paths()...)
	for _, p := range paths[1:] {
		if err := checkFATName(path.Base(p)); err != nil {
			return nil, err
		}
		slots[path.Dir(p)] += maxSlots(path.Base(p))
		if f, _ := t.Get(p); f.Mode.IsDir() {
			slots[p] = 2 // "." and ".."
		}
	}
	next := int64(v.root)
	for _, p := range paths {
		size := slots[p] * slotBytes
		if size > maxDirectoryBytes {
			return nil, fmt.Errorf("directory %s has more entries than FAT allows", p)
		}
		if size == 0 {
			f, _ := t.Get(p)
			if !f.Mode.IsRegular() {
				return nil, fmt.Errorf("add %s: FAT holds only files and directories", p)
			}
			var err error
			if size, err = f.Size(); err != nil {
				return nil, err
			}
			if size > maxFileBytes {
				return nil, fmt.Errorf("%s has %d bytes: FAT32 holds files of up to 4 GiB", p, size)
			}
		}
		if size == 0 {
			items[p] = item{}
			continue
		}
		items[p] = item{uint32(next), size}
		end := next + v.clustersFor(size)
		if end > int64(len(v.table)) {
			return nil, fmt.Errorf("%s does not fit any more in %d MiB: make the boot partition larger in the board file",
				p, int64(v.clusters)*v.clusterBytes>>20)
		}
		for ; next < end; next++ {
			v.table[next] = uint32(next) + 1
		}
		v.table[end-1] = clusterMask
	}
	return items, nil
}

const maxFileBytes = 1<<32 - 1

func (v *FAT) clustersFor(bytes int64) int64 { return (bytes + v.clusterBytes - 1) / v.clusterBytes }

// maxSlots is how many entries a name takes at most.
func maxSlots(name string) int64 { return 1 + int64(len(name)+12)/13 }

// directories returns the contents of all directories.
func (v *FAT) directories(t *tree.Tree, items map[string]item, o FATOptions) (map[string][]byte, error) {
	dir := func(cluster uint32) node { return node{attributes: attrDirectory, cluster: cluster, time: o.Time} }
	dirs := map[string][]byte{".": slotsOf(padded(o.Label), "", node{attributes: attrVolume, time: o.Time})}
	taken := map[string]map[[11]byte]bool{".": {}}
	names := map[string]bool{}
	for _, p := range t.Paths() {
		if names[strings.ToUpper(p)] {
			return nil, fmt.Errorf("%s is there twice but for upper and lower case: rename one", p)
		}
		names[strings.ToUpper(p)] = true
		parent := path.Dir(p)
		n := node{cluster: items[p].cluster, size: uint32(items[p].bytes), time: o.Time}
		if f, _ := t.Get(p); f.Mode.IsDir() {
			n = dir(n.cluster)
			up := items[parent].cluster
			if parent == "." {
				up = 0 // the root has no number here (section 6.5)
			}
			dirs[p] = append(slotsOf(padded("."), "", n), slotsOf(padded(".."), "", dir(up))...)
			taken[p] = map[[11]byte]bool{}
		}
		dirs[parent] = append(dirs[parent], named(path.Base(p), taken[parent], n)...)
	}
	return dirs, nil
}

// named returns the entries of a new name and takes its short name.
func named(name string, taken map[[11]byte]bool, n node) []byte {
	short, needsLong := shortName(name, taken)
	taken[short] = true
	if !needsLong {
		name = ""
	}
	return slotsOf(short, name, n)
}

func writeContents(w io.Writer, f tree.File, size int64) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = errors.New("its size changed while it was read")
	}
	return err
}

// writeBootSectors writes the boot sector, FSInfo and their backups (sections
// 3.1, 3.3 and 5). offset is where the file system is on the disk.
func (v *FAT) writeBootSectors(w io.WriterAt, offset, size int64) error {
	le := binary.LittleEndian
	b := make([]byte, 2*sectorBytes)
	copy(b, "\xeb\x58\x90MSWIN4.1") // the name for which nothing makes exceptions
	le.PutUint16(b[11:], sectorBytes)
	b[13] = byte(v.clusterBytes / sectorBytes)
	le.PutUint16(b[14:], uint16(v.fatOffset/sectorBytes))
	b[16] = byte(v.fatCount)
	b[21] = 0xf8             // a fixed disk
	le.PutUint16(b[24:], 63) // sectors and heads of a geometry nobody uses
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(offset/sectorBytes))
	le.PutUint32(b[32:], uint32(size/sectorBytes))
	le.PutUint32(b[36:], uint32(v.fatBytes/sectorBytes))
	le.PutUint32(b[44:], v.root)
	le.PutUint16(b[48:], uint16(v.fsInfo/sectorBytes))
	le.PutUint16(b[50:], uint16(v.backup/sectorBytes))
	b[64], b[66] = 0x80, 0x29
	le.PutUint32(b[67:], v.volumeID)
	copy(b[71:], fmt.Sprintf("%-11sFAT32   ", v.label))
	copy(b[510:], "\x55\xaa")

	info := b[sectorBytes:]
	copy(info, "RRaA")
	copy(info[484:], "rrAa")
	copy(info[508:], "\x00\x00\x55\xaa")
	v.putFree(info)
	for _, at := range []int64{0, v.backup} {
		if _, err := w.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// putFree sets the number of free clusters and the first of them, so that no
// system has to count them at mount.
func (v *FAT) putFree(info []byte) {
	next := uint32(2)
	for next < uint32(len(v.table)) && v.table[next]&clusterMask != 0 {
		next++
	}
	binary.LittleEndian.PutUint32(info[488:], uint32(v.Free()))
	binary.LittleEndian.PutUint32(info[492:], next)
}

// writeTable writes all copies of the allocation table, up to the last cluster
// that is used: what follows is zero already.
func (v *FAT) writeTable(w io.WriterAt) error {
	v.table[0], v.table[1] = 0x0ffffff8, clusterMask
	used := len(v.table)
	for v.table[used-1] == 0 {
		used--
	}
	b := make([]byte, 0, used*4)
	for _, next := range v.table[:used] {
		b = binary.LittleEndian.AppendUint32(b, next)
	}
	for n := range v.fatCount {
		if _, err := w.WriteAt(b, v.fatOffset+n*v.fatBytes); err != nil {
			return err
		}
	}
	return nil
}
