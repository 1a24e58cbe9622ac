package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/skerry-os/skerry/imageseed"
)

// node is a file in an EROFS image, as its metadata say.
type node struct {
	mode   fs.FileMode
	owner  uint32
	group  uint32
	size   int64
	stored int64  // bytes of the image that the contents take
	nid    uint64 // number of the inode: the same for names of one file
	target string // of a symbolic link
}

// Limits on a root file system, far above what an image has.
const (
	maxRootFiles     = 1 << 18
	maxRootBytes     = 16 << 30 // contents of all files, unpacked
	maxDirectory     = 64 << 20 // bytes of one directory
	maxErofsPath     = 4096
	maxErofsPaths    = 64 << 20 // bytes of all paths
	maxLinkTarget    = 4096
	erofsMagic       = 0xe0f5e1e2
	erofsSuperAt     = 1024
	erofsSuperBytes  = 128
	erofsDirentBytes = 12
	erofsUnitBytes   = 32 // inode numbers count these
)

// Layouts of an inode's contents (Linux, fs/erofs/erofs_fs.h). Directories and
// links have one of these; other files are left to fsck.erofs.
const (
	flatPlain  = 0
	flatInline = 2
)

// Layouts of contents that are compressed.
const (
	compressedFull    = 1
	compressedCompact = 3
)

// erofs reads the metadata of an EROFS image. It comes before fsck.erofs, which
// unpacks names like "../x" to where they lead, and files of any size.
type erofs struct {
	r          io.ReaderAt
	size       int64
	blockBytes int64
	meta       int64 // byte offset that inode numbers count from
	root       uint64
	taken      int64 // bytes of directories and links that were read
}

// inode is one as it is on disk.
type inode struct {
	node
	layout uint16
	at     int64 // byte offset of contents that are inline
	block  uint32
}

// readErofs returns what is in the EROFS image that r has in its first size
// bytes, by path.
func readErofs(r io.ReaderAt, size int64) (map[string]node, error) {
	e := &erofs{r: r, size: size}
	if err := e.readSuper(); err != nil {
		return nil, err
	}
	return e.walk()
}

func (e *erofs) readSuper() error {
	b := make([]byte, erofsSuperBytes)
	if err := e.read(b, erofsSuperAt); err != nil {
		return fmt.Errorf("read the superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(b) != erofsMagic {
		return errors.New("there is no superblock of EROFS")
	}
	if b[12] < 9 || b[12] > 16 || b[90] != 0 {
		return fmt.Errorf("it has blocks of 2^%d bytes, and directory blocks 2^%d times as large", b[12], b[90])
	}
	e.blockBytes = 1 << b[12]
	e.root = uint64(le.Uint16(b[14:]))
	e.meta = int64(le.Uint32(b[40:])) * e.blockBytes
	if blocks := int64(le.Uint32(b[36:])); blocks*e.blockBytes > e.size {
		return fmt.Errorf("it has %d blocks of %d bytes in %d bytes", blocks, e.blockBytes, e.size)
	}
	return nil
}

func (e *erofs) read(b []byte, at int64) error {
	if at < 0 || at > e.size || int64(len(b)) > e.size-at {
		return fmt.Errorf("%d bytes at %d are outside of the file system", len(b), at)
	}
	_, err := e.r.ReadAt(b, at)
	return err
}

// walk reads every directory. One that is found twice would be part of a circle.
func (e *erofs) walk() (map[string]node, error) {
	type dir struct {
		path string
		nid  uint64
	}
	nodes := map[string]node{}
	seen := map[uint64]bool{e.root: true}
	bytes, names := int64(0), 0
	for todo := []dir{{"", e.root}}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		d, err := e.inode(at.nid)
		if err != nil {
			return nil, fmt.Errorf("directory /%s: %w", at.path, err)
		}
		if !d.mode.IsDir() {
			return nil, fmt.Errorf("/%s is not a directory", at.path)
		}
		entries, err := e.directory(d)
		if err != nil {
			return nil, fmt.Errorf("directory /%s: %w", at.path, err)
		}
		for name, nid := range entries {
			p := path.Join(at.path, name)
			f, err := e.inode(nid)
			if err != nil {
				return nil, fmt.Errorf("/%s: %w", p, err)
			}
			switch f.mode.Type() {
			case fs.ModeDir:
				if seen[nid] {
					return nil, fmt.Errorf("/%s is a directory that has another name too", p)
				}
				seen[nid] = true
				todo = append(todo, dir{p, nid})
			case fs.ModeSymlink:
				target, err := e.contents(f, maxLinkTarget)
				if err != nil {
					return nil, fmt.Errorf("link /%s: %w", p, err)
				}
				f.target = string(target)
			case 0:
				if bytes += f.size; f.size > maxRootBytes || bytes > maxRootBytes {
					return nil, fmt.Errorf("its files have more than %d bytes", int64(maxRootBytes))
				}
			}
			nodes[p] = f.node
			if names += len(p); len(nodes) > maxRootFiles || len(p) > maxErofsPath || names > maxErofsPaths {
				return nil, fmt.Errorf("it has more than %d files, or their names are too long", maxRootFiles)
			}
		}
	}
	return nodes, nil
}

// Stored returns how many bytes the contents of some files take in an EROFS
// image, compressed as they are.
func Stored(image io.ReaderAt, size int64, of func(path string) bool) (int64, error) {
	nodes, err := readErofs(image, size)
	if err != nil {
		return 0, err
	}
	return storedOf(nodes, of), nil
}

func storedOf(nodes map[string]node, of func(path string) bool) (sum int64) {
	for n := range filesOf(nodes, of) {
		sum += n.stored
	}
	return sum
}

// filesOf returns the regular files at some paths. One with several names comes
// once.
func filesOf(nodes map[string]node, of func(path string) bool) iter.Seq[node] {
	return func(yield func(node) bool) {
		seen := map[uint64]bool{}
		for p, n := range nodes {
			if !n.mode.IsRegular() || !of(p) || seen[n.nid] {
				continue
			}
			seen[n.nid] = true
			if !yield(n) {
				return
			}
		}
	}
}

// OfCluster tells whether a file of a root is the cluster's: the single binary,
// what it starts, and the container images that belong to it.
func OfCluster(p string) bool {
	return p == "usr/bin/skerry" || strings.HasPrefix(p, "usr/lib/skerry/") && !strings.HasPrefix(p, ofUsers)
}

// ofUsers is where the container images are that users brought.
var ofUsers = strings.TrimPrefix(imageseed.Folder, "/") + "/" + imageseed.PackedFolder + "/"

// inode reads an inode in either form, of 32 or 64 bytes.
func (e *erofs) inode(nid uint64) (inode, error) {
	if nid > uint64(e.size)/erofsUnitBytes {
		return inode{}, fmt.Errorf("inode %d is outside of the file system", nid)
	}
	at := e.meta + int64(nid)*erofsUnitBytes
	b := make([]byte, 64)
	if err := e.read(b[:32], at); err != nil {
		return inode{}, fmt.Errorf("inode %d: %w", nid, err)
	}
	le := binary.LittleEndian
	format := le.Uint16(b)
	n := inode{layout: format >> 1 & 7, block: le.Uint32(b[16:]), at: at + 32}
	n.nid = nid
	n.mode = unixMode(le.Uint16(b[4:]))
	if format&1 == 0 {
		n.size, n.owner, n.group = int64(le.Uint32(b[8:])), uint32(le.Uint16(b[24:])), uint32(le.Uint16(b[26:]))
	} else {
		if err := e.read(b[32:], at+32); err != nil {
			return inode{}, fmt.Errorf("inode %d: %w", nid, err)
		}
		n.size, n.owner, n.group = int64(le.Uint64(b[8:])), le.Uint32(b[24:]), le.Uint32(b[28:])
		n.at = at + 64
	}
	if attributes := int64(le.Uint16(b[2:])); attributes > 0 {
		n.at += 12 + 4*(attributes-1)
	}
	if n.size < 0 {
		return inode{}, fmt.Errorf("inode %d: its size is %d", nid, uint64(n.size))
	}
	n.stored = n.size
	if n.layout == compressedFull || n.layout == compressedCompact {
		n.stored = int64(n.block) * e.blockBytes // i_u is the number of blocks
	}
	return n, nil
}

// contents reads a file that is not compressed: whole blocks, and a rest that
// may stand behind the inode.
func (e *erofs) contents(n inode, limit int64) ([]byte, error) {
	if n.layout != flatPlain && n.layout != flatInline {
		return nil, fmt.Errorf("its contents have layout %d, which only other files should have", n.layout)
	}
	if n.size > limit || n.size > e.size {
		return nil, fmt.Errorf("it has %d bytes: at most %d are expected", n.size, min(limit, e.size))
	}
	// What is not compressed takes its size of the image, unless it is there
	// under many names to keep the reader busy.
	if e.taken += n.size; e.taken > e.size {
		return nil, errors.New("its directories overlap")
	}
	b := make([]byte, n.size)
	whole := n.size
	if n.layout == flatInline {
		whole -= n.size % e.blockBytes
		if err := e.read(b[whole:], n.at); err != nil {
			return nil, err
		}
	}
	if whole == 0 {
		return b, nil
	}
	return b, e.read(b[:whole], int64(n.block)*e.blockBytes)
}

// directory returns the entries of a directory but for "." and "..".
func (e *erofs) directory(d inode) (map[string]uint64, error) {
	b, err := e.contents(d, maxDirectory)
	if err != nil {
		return nil, err
	}
	entries := map[string]uint64{}
	for len(b) > 0 {
		block := b[:min(int64(len(b)), e.blockBytes)]
		b = b[len(block):]
		if err := readDirents(block, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// readDirents reads one block: entries of 12 bytes, and their names behind them.
func readDirents(block []byte, entries map[string]uint64) error {
	le := binary.LittleEndian
	if len(block) < erofsDirentBytes {
		return errors.New("a block of it is too short")
	}
	names := int(le.Uint16(block[8:]))
	if names < erofsDirentBytes || names%erofsDirentBytes != 0 || names > len(block) {
		return fmt.Errorf("names begin at byte %d of %d of a block", names, len(block))
	}
	for at := 0; at < names; at += erofsDirentBytes {
		from, to := int(le.Uint16(block[at+8:])), len(block)
		if at+erofsDirentBytes < names {
			to = int(le.Uint16(block[at+erofsDirentBytes+8:]))
		}
		if from < names || to < from || to > len(block) {
			return fmt.Errorf("a name is at bytes %d to %d of a block of %d", from, to, len(block))
		}
		name, _, _ := strings.Cut(string(block[from:to]), "\x00")
		if name == "." || name == ".." {
			continue
		}
		if name == "" || len(name) > 255 || strings.Contains(name, "/") {
			return fmt.Errorf("a file cannot be called %.80q", name)
		}
		if _, ok := entries[name]; ok {
			return fmt.Errorf("%q is in it twice", name)
		}
		entries[name] = le.Uint64(block[at:])
	}
	return nil
}

// unixMode turns st_mode (stat(2)) into Go's.
func unixMode(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, is := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= is
		}
	}
	switch m & 0o170000 {
	case 0o100000:
		return mode
	case 0o040000:
		return mode | fs.ModeDir
	case 0o120000:
		return mode | fs.ModeSymlink
	case 0o020000:
		return mode | fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		return mode | fs.ModeDevice
	case 0o010000:
		return mode | fs.ModeNamedPipe
	case 0o140000:
		return mode | fs.ModeSocket
	}
	return mode | fs.ModeIrregular
}
