package fat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Options are what a file system has besides its files.
type Options struct {
	Label    string // 1 to 11 characters in upper case
	VolumeID uint32
	Time     time.Time // of all files; FAT keeps 1980 to 2107 in steps of two seconds
}

// File is a file or directory that Make puts in.
type File struct {
	Path string // slash-separated, from the root, in printable ASCII
	Dir  bool
	Size int64                         // of a file, in bytes
	Open func() (io.ReadCloser, error) // gives the contents of a file, Size bytes
}

// ErrFull is in the error of Make for files that have no room.
var ErrFull = errors.New("does not fit any more")

// Make makes a FAT32 file system of size bytes, 33 MiB or more, that starts at
// the given offset of w, which has to be a hole or zeros there. The order of
// files is that on the disk, and directories come before what is in them. Each
// file is in one piece, and names keep their case.
//
// docs/architecture.md says why no library does this.
func Make(ctx context.Context, w io.WriterAt, offset, size int64, files []File, o Options) error {
	if err := makeFS(ctx, w, offset, size, files, o); err != nil {
		return fmt.Errorf("make FAT32 file system %s: %w", o.Label, err)
	}
	return nil
}

func makeFS(ctx context.Context, w io.WriterAt, offset, size int64, files []File, o Options) error {
	if len(o.Label) == 0 || len(o.Label) > 11 || strings.ToUpper(o.Label) != o.Label {
		return fmt.Errorf("label %q: 1 to 11 characters in upper case are possible", o.Label)
	}
	v, err := layOut(size)
	if err != nil {
		return err
	}
	return v.fill(ctx, io.NewOffsetWriter(w, offset), offset, size, files, o)
}

// fill writes a file system that was laid out. offset is where it is on the disk.
func (v *FS) fill(ctx context.Context, w io.WriterAt, offset, size int64, files []File, o Options) error {
	v.volumeID, v.label = o.VolumeID, o.Label
	items, err := v.plan(files)
	if err != nil {
		return err
	}
	dirs := v.directories(files, items, o)
	for _, f := range withRoot(files) {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := v.offset(items[f.Path].cluster)
		if f.Dir {
			if _, err := w.WriteAt(dirs[f.Path], at); err != nil {
				return err
			}
			continue
		}
		if err := f.writeTo(io.NewOffsetWriter(w, at)); err != nil {
			return fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	if err := v.writeBootSectors(w, offset, size); err != nil {
		return err
	}
	return v.writeTable(w)
}

// layOut chooses the clusters: as large as possible, for firmware follows
// the chain of a kernel image step by step, while there are enough of them for
// FAT32. It keeps 16 away from the limit as the specification advises.
func layOut(size int64) (*FS, error) {
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
		return &FS{
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

// plan gives the root and every directory and file its clusters, one after the
// other.
func (v *FS) plan(files []File) (map[string]item, error) {
	slots, err := countSlots(files)
	if err != nil {
		return nil, err
	}
	items := map[string]item{}
	next := int64(v.root)
	for _, f := range withRoot(files) {
		size := f.Size
		if f.Dir {
			if size = slots[f.Path] * slotBytes; size > maxDirectoryBytes {
				return nil, fmt.Errorf("directory %s has more entries than FAT allows", f.Path)
			}
		} else if size < 0 || size > maxFileBytes {
			return nil, fmt.Errorf("%s has %d bytes: FAT32 holds files of up to 4 GiB", f.Path, size)
		}
		if size == 0 {
			items[f.Path] = item{}
			continue
		}
		items[f.Path] = item{uint32(next), size}
		end := next + v.clustersFor(size)
		if end > int64(len(v.table)) {
			return nil, fmt.Errorf("%s %w in %d MiB", f.Path, ErrFull, int64(v.clusters)*v.clusterBytes>>20)
		}
		for ; next < end; next++ {
			v.table[next] = uint32(next) + 1
		}
		v.table[end-1] = clusterMask
	}
	return items, nil
}

func withRoot(files []File) []File { return append([]File{{Path: ".", Dir: true}}, files...) }

// countSlots refuses what a file system cannot hold, and returns how many
// entries each directory has at most.
func countSlots(files []File) (map[string]int64, error) {
	slots := map[string]int64{".": 1} // the label
	names := map[string]bool{}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("add %q: %w", f.Path, fs.ErrInvalid)
		}
		if err := checkName(path.Base(f.Path)); err != nil {
			return nil, err
		}
		parent := path.Dir(f.Path)
		if slots[parent] == 0 {
			return nil, fmt.Errorf("add %s: directory %s does not come before it", f.Path, parent)
		}
		if names[strings.ToUpper(f.Path)] {
			return nil, fmt.Errorf("%s is there twice but for upper and lower case: rename one", f.Path)
		}
		names[strings.ToUpper(f.Path)] = true
		slots[parent] += maxSlots(path.Base(f.Path))
		if f.Dir {
			slots[f.Path] = 2 // "." and ".."
		}
	}
	return slots, nil
}

const maxFileBytes = 1<<32 - 1

func (v *FS) clustersFor(bytes int64) int64 { return (bytes + v.clusterBytes - 1) / v.clusterBytes }

// maxSlots is how many entries a name takes at most.
func maxSlots(name string) int64 { return 1 + int64(len(name)+12)/13 }

// directories returns the contents of all directories.
func (v *FS) directories(files []File, items map[string]item, o Options) map[string][]byte {
	dir := func(cluster uint32) node { return node{attributes: attrDirectory, cluster: cluster, time: o.Time} }
	dirs := map[string][]byte{".": slotsOf(padded(o.Label), "", node{attributes: attrVolume, time: o.Time})}
	taken := map[string]map[[11]byte]bool{".": {}}
	for _, f := range files {
		p, parent := f.Path, path.Dir(f.Path)
		n := node{cluster: items[p].cluster, size: uint32(items[p].bytes), time: o.Time}
		if f.Dir {
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
	return dirs
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

func (f File) writeTo(w io.Writer) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, f.Size))
	if err != nil {
		return err
	}
	if more, _ := io.CopyN(io.Discard, r, 1); n+more != f.Size {
		return errors.New("its size changed while it was read")
	}
	return nil
}

// writeBootSectors writes the boot sector, FSInfo and their backups (sections
// 3.1, 3.3 and 5). offset is where the file system is on the disk.
func (v *FS) writeBootSectors(w io.WriterAt, offset, size int64) error {
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
func (v *FS) putFree(info []byte) {
	next := uint32(2)
	for next < uint32(len(v.table)) && v.table[next]&clusterMask != 0 {
		next++
	}
	binary.LittleEndian.PutUint32(info[488:], uint32(v.Free()))
	binary.LittleEndian.PutUint32(info[492:], next)
}

// writeTable writes all copies of the allocation table, up to the last cluster
// that is used: what follows is zero already.
func (v *FS) writeTable(w io.WriterAt) error {
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
