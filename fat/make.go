package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	v.volumeID = o.VolumeID
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
	if err := v.writeBootSectors(w, o.Label, offset, size); err != nil {
		return err
	}
	v.table.set(0, 0x0ffffff8) // the medium is a fixed disk
	v.table.set(1, clusterMask)
	return v.writeTable(w, bytes.TrimRight(v.table, "\x00")) // what follows is zero already
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
			root: 2, table: newTable(clusters),
		}, nil
	}
	return nil, fmt.Errorf("%d bytes are too few: firmware takes less than %d clusters of 512 for FAT16", size, MinClusters)
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

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
func (v *FS) writeBootSectors(w io.WriterAt, label string, offset, size int64) error {
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
	copy(b[71:], fmt.Sprintf("%-11sFAT32   ", label))
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
